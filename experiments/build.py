"""From a config to an experiment: one builder for each `config.experiment`.

Config stops here, in `parts` and in `grpo`: nothing below has heard of ConfigDict.
What a user can get wrong is found here, before any work starts, and raised as
`checks.UserError`.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import pathlib
from typing import Protocol

from flax import nnx
import ml_collections as mlc

from datachef_jax import types
from datachef_jax.finetune import optimizer as optimizers
from datachef_jax.recipes import handwritten
from datachef_jax.recipes import parse
from datachef_jax.recipes.execute import Executor
from datachef_jax.text.tokenizer import ChatTokenizer
from experiments import build_bench
from experiments import build_bench_verifier
from experiments import build_contamination
from experiments import build_correlate
from experiments import build_finetunes
from experiments import build_mini
from experiments import build_proxy
from experiments import build_sandbox
from experiments import build_student
from experiments import checks
from experiments import cold_start
from experiments import compile
from experiments import environment
from experiments import evaluation
from experiments import grpo
from experiments import models
from experiments import parts
from experiments import pools
from experiments import serve
from experiments import sft
from experiments import span
from experiments import supervised
from experiments import table1
from experiments import verifiers


class Experiment(Protocol):
    """What `run.py` runs."""

    def run(self, record: environment.Environment) -> None:
        """Does what is not done yet and leaves `summary.json` when all is."""


def experiment(
    config: mlc.ConfigDict, workdir: pathlib.Path, *, root: pathlib.Path
) -> Experiment:
    """Builds the experiment that `config.experiment` names.

    Args:
      config: All of its settings.
      workdir: Where its files go.
      root: What relative paths in the config are relative to.

    Raises:
      UserError: If a setting, or a file that it names, cannot be used.
    """
    checks.require(
        config.experiment in PROGRAMMES,
        "config.experiment",
        config.experiment,
        f"must be one of {sorted(PROGRAMMES)}",
    )
    return PROGRAMMES[config.experiment](config, workdir, root)


def _table1(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> table1.Table1:
    """Builds the experiment behind `configs/quickstart.py`."""
    checks.numbers(config)
    tokenizer = parts.tokenizer(config.tokenizer, root)
    names = ("policy", "base", "judge", "generator", *verifiers.held_out(config))
    found = models.load_each(config, names, tokenizer, root)
    loaded = dict(zip(names, found, strict=True))
    policy, base = loaded["policy"], loaded["base"]
    style = parts.prompt_style(**config.prompt, apart=config.turns.apart)
    tasks = parts.tasks(config, workdir, root)
    held_out = parts.held_out(tasks, config.evaluation.tasks)
    parts.check_prompts(config, tasks, tokenizer, style)
    parts.check_questions(config, held_out, tokenizer)

    loaded["untrained"] = base  # it has read texts of all kinds of tasks, no recipe
    engines = parts.engines(config, loaded, tokenizer, root)
    sandbox = parts.sandbox(config, engines.client("generator"), tokenizer)
    shared = dict(
        prompt=functools.partial(parts.prompt, tokenizer=tokenizer, style=style),
        decode=tokenizer.decode,
        conversation=parts.conversation(config, tokenizer, style),
        executor=Executor(sandbox=sandbox, row_cap=config.sandbox.row_cap),
        verifier=verifiers.verifier(
            config,
            engines.client("judge"),
            tokenizer,
            tasks,
            held_out=verifiers.held_out_client(config, engines),
            forecaster=verifiers.forecaster(config, root),
            references=verifiers.references(config, sandbox, root),
        ),
    )
    policy_with = functools.partial(engines.with_weights, "policy")
    train = grpo.trainer(
        config,
        policy=policy,
        tasks=[task for task in tasks if not task.held_out],
        stages=grpo.stages(
            config, policy=policy, client=policy_with, sleep=engines.sleep, **shared
        ),
        pad_id=tokenizer.pad_id,
    )
    return table1.Table1(
        workdir=workdir,
        tasks=held_out,
        seeds=[config.seed + i for i in range(config.evaluation.seeds)],
        train=train,
        policies={
            "untrained": engines.client("untrained"),
            "cold_start": engines.client("policy"),
        },
        evaluator=evaluation.Evaluator(
            **shared,
            recipes=config.evaluation.recipes,
            temperature=config.sampling.temperature,
        ),
        trained=policy_with,
        by_hand={task.name: _by_hand(task) for task in held_out},
        executor=Executor(sandbox=sandbox, row_cap=0),
        finetuner=parts.finetuner(config, base, engines, tokenizer, workdir),
        oracle=config.evaluation.oracle,
        sandbox=sandbox,
    )


def _span(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> span.Span:
    """Builds the experiment behind `configs/mini/span.py`."""
    tokenizer = parts.tokenizer(config.tokenizer, root)
    base, generator = models.load_each(config, ("base", "generator"), tokenizer, root)
    tasks = parts.tasks(config, workdir, root)
    held_out = parts.held_out(tasks, config.evaluation.tasks)
    parts.check_questions(config, held_out, tokenizer)
    loaded = dict(base=base, generator=generator)
    engines = parts.engines(config, loaded, tokenizer, root)
    sandbox = parts.sandbox(config, engines.client("generator"), tokenizer)
    return span.Span(
        workdir=workdir,
        tasks=held_out,
        seeds=[config.seed + i for i in range(config.evaluation.seeds)],
        recipes={
            task.name: {
                name: parse.render(recipe)
                for name, recipe in handwritten.variants(task).items()
            }
            for task in held_out
        },
        executor=Executor(sandbox=sandbox, row_cap=0),
        finetuner=parts.finetuner(config, base, engines, tokenizer, workdir),
        sandbox=sandbox,
    )


def _cold_start(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> cold_start.ColdStart:
    """Builds the experiment behind `configs/mini/cold_start.py`."""
    tokenizer = parts.tokenizer(config.tokenizer, root)
    policy, judge, generator = models.load_each(
        config, ("policy", "judge", "generator"), tokenizer, root
    )
    style = parts.prompt_style(**config.prompt)
    tasks = pools.mini_training_tasks(
        config.cold_start.pools,
        seed=config.pool.seed,
        benchmark_size=config.pool.benchmark_size,
        folder=workdir / "pool",
    )
    parts.check_prompts(config, tasks, tokenizer, style)
    loaded = dict(judge=judge, generator=generator)
    engines = parts.engines(config, loaded, tokenizer, root)
    sandbox = parts.sandbox(config, engines.client("generator"), tokenizer)
    return cold_start.ColdStart(
        sampler=cold_start.Sampler(
            tasks=tasks,
            executor=Executor(sandbox=sandbox, row_cap=config.sandbox.row_cap),
            verifier=verifiers.verifier(
                config,
                engines.client("judge"),
                tokenizer,
                tasks,
                held_out=None,
                references=verifiers.references(config, sandbox, root),
            ),
            smallest=config.pool.smallest,
            largest=config.pool.largest,
            min_score=config.cold_start.min_score,
            workdir=workdir,
        ),
        demonstrations=config.cold_start.demonstrations,
        train=_imitation(config, policy, tasks, tokenizer, workdir),
        seed=config.seed,
        sandbox=sandbox,
        workdir=workdir,
    )


def _imitation(
    config: mlc.ConfigDict,
    policy: models.Model,
    tasks: Sequence[types.Task],
    tokenizer: ChatTokenizer,
    workdir: pathlib.Path,
) -> Callable[[Sequence[cold_start.Demonstration]], Mapping[str, float]]:
    """Returns what trains the policy on demonstrations, and gives figures."""
    section = config.cold_start

    def train(kept: Sequence[cold_start.Demonstration]) -> Mapping[str, float]:
        examples = functools.partial(
            cold_start.tokenize,
            kept,
            tasks,
            tokenizer,
            style=parts.prompt_style(**config.prompt),
            copies=section.copies,
            topics_share=section.topics_share,
            max_tokens=section.shape.row_tokens,
            seed=config.seed,
        )
        stage = supervised.Stage(
            name="cold start", examples=examples, steps=section.steps, **section.shape
        )
        return supervised.train(
            nnx.merge(policy.graphdef, policy.params),
            [stage],
            optimizer=optimizers.muon(**section.optimizer, steps=section.steps),
            seed=config.seed,
            workdir=workdir,
            evaluate=lambda model: {},
        )

    return train


def _by_hand(task: types.Task) -> dict[str, str]:
    """Returns the hand-written recipes of a task by "expert" or source id."""
    singles = {
        source.id: parse.render(handwritten.single_source(source))
        for source in task.sources
    }
    return {"expert": parse.render(handwritten.expert(task))} | singles


PROGRAMMES = {
    "table1": _table1,
    "span": _span,
    "cold_start": _cold_start,
    **build_bench.PROGRAMMES,
    **build_bench_verifier.PROGRAMMES,
    **build_contamination.PROGRAMMES,
    **build_correlate.PROGRAMMES,
    **build_finetunes.PROGRAMMES,
    **build_mini.PROGRAMMES,
    **build_proxy.PROGRAMMES,
    **build_sandbox.PROGRAMMES,
    **build_student.PROGRAMMES,
    **compile.PROGRAMMES,
    **serve.PROGRAMMES,
    **sft.PROGRAMMES,
}
