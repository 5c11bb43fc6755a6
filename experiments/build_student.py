"""Builds the distillation of a judge from its config."""

from collections.abc import Sequence
import functools
import pathlib

from flax import nnx
import jax
import ml_collections as mlc

from datachef_jax.finetune import optimizer as optimizers
from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.sampling import sizing
from datachef_jax.sampling.engine import Engine
from datachef_jax.serving.client import Direct
from datachef_jax.types import Task
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges import grade as grades
from datachef_jax.verifier.judges.expected import ExpectedJudge
from datachef_jax.verifier.judges.grade import Judge
from datachef_jax.verifier.judges.prompting import Prompter
from experiments import checkpoints
from experiments import checks
from experiments import parts
from experiments import pools
from experiments import student

_COMPUTE = Compute(
    dtype="float32",  # bfloat16 is slower than float32 on CPUs
    param_dtype="float32",
    remat="none",
    shard_sequence=False,
    unroll=4,  # layers at a time; all of them, for the programs are small
)


def build(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> student.Student:
    """Builds the experiment behind `configs/mini/student.py`."""
    prompter = _prompter(config, root)
    with checks.blame("config.sizes", config.sizes.to_dict()):
        sizes = Qwen3Config(
            **config.sizes,
            vocab_size=prompter.tokenizer.vocab_size,
            tie_embeddings=True,
        )
    paths = sorted(root.glob(config.rollouts)) if config.rollouts else []
    checks.require(
        bool(paths) or not config.rollouts,
        "config.rollouts",
        config.rollouts,
        f"there is no such file in {root}",
    )
    grader = functools.partial(
        _grader,
        prompter=prompter,
        page_size=config.engine.page_size,
        read_tokens=config.engine.read_tokens,
        min_mass=config.judge.min_mass,
    )
    teacher = None if paths else _teacher(config, root)
    judge = grader(teacher) if teacher else None
    tasks = _tasks(config, workdir, root)
    steps = sum(stage["steps"] for stage in config.stages)
    with checks.blame("config.optimizer", config.optimizer.to_dict()):
        optimizer = optimizers.muon(**config.optimizer, steps=steps)
    model = weights.random(sizes, _COMPUTE, seed=config.seed)
    models = {"student": model} | ({"judge": teacher} if teacher else {})
    return student.Student(
        workdir=workdir,
        model=model,
        lessons=_lessons(config, tasks, judge, paths),
        prompter=prompter,
        answers=config.answers,
        stages=[dict(stage) for stage in config.stages],
        optimizer=optimizer,
        grader=grader,
        judge=judge,
        sizes={name: _count(each) for name, each in models.items()},
        bins=config.held_out.bins,
        seed=config.seed,
    )


def _prompter(config: mlc.ConfigDict, root: pathlib.Path) -> Prompter:
    checks.require(
        config.rubric.name == "compact" or not config.answers,
        "config.rubric.name",
        config.rubric.name,
        "must be 'compact' with config.answers=True",
    )
    with checks.blame("config.rubric", config.rubric.to_dict()):
        style = rubric.RubricStyle(**config.rubric)
    return Prompter(
        tokenizer=parts.tokenizer(config.tokenizer, root),
        style=style,
        max_prompt_tokens=config.judge.max_prompt_tokens,
    )


def _tasks(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> list[Task]:
    settings = config.pool.to_dict()
    kind = settings.pop("kind")
    with checks.blame("config.pool", config.pool.to_dict()):
        return pools.load(kind, settings, folder=workdir / "pool", root=root)


def _teacher(config: mlc.ConfigDict, root: pathlib.Path) -> Qwen3:
    checkpoint = config.judge.checkpoint
    with checks.blame("config.judge.checkpoint", checkpoint):
        return weights.load(checkpoints.find(checkpoint, root), _COMPUTE)


def _grader(
    model: Qwen3,
    prompter: Prompter,
    *,
    page_size: int,
    read_tokens: int,
    min_mass: float,
) -> ExpectedJudge:
    """Returns a model as a judge, on an engine of its own.

    Args:
      model: Any that was trained on compact prompts.
      prompter: Makes them.
      page_size: Of the engine; see `sampling.state.Sizes`.
      read_tokens: Of prompts, read at a time.
      min_mass: See `ExpectedJudge`.
    """
    graphdef, params = nnx.split(model, nnx.Param)
    engine = Engine.sized(
        graphdef,
        params,
        end_id=prompter.tokenizer.end_id,
        rows=0,
        group=1,
        max_prompt=prompter.max_prompt_tokens,
        max_new_tokens=0,
        page_size=page_size,
        read_tokens=read_tokens,
        free_bytes=sizing.free_bytes(),
        candidates=len(grades.LETTERS),
    )
    return ExpectedJudge(Direct(engine, params, version=0), prompter, min_mass=min_mass)


def _lessons(
    config: mlc.ConfigDict,
    tasks: Sequence[Task],
    judge: Judge | None,
    paths: Sequence[pathlib.Path],
) -> student.Lessons:
    """Returns rows that the judge grades, or without one those of rollout files."""
    training = [stage["rows"] for stage in config.stages]
    if judge is not None:
        return student.made(
            tasks,
            judge,
            held_out=config.held_out.rows,
            training=training,
            seed=config.seed,
        )
    with checks.blame("config.rollouts", config.rollouts):
        return student.recorded(
            paths,
            tasks,
            share=config.held_out.share,
            training=training,
            seed=config.seed,
        )


def _count(model: Qwen3) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


PROGRAMMES = {"student": build}
