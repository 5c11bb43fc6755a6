"""Builds the experiment behind `configs/mini/correlate.py`; see `correlate.py`."""

from collections.abc import Callable, Mapping, Sequence
import functools
import math
import pathlib

import ml_collections as mlc
import numpy as np

from datachef_jax import types
from datachef_jax.recipes.execute import Executor
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier.baselines import deita
from datachef_jax.verifier.baselines import embeddings
from datachef_jax.verifier.baselines import ifd
from datachef_jax.verifier.baselines import perplexity
from datachef_jax.verifier.baselines import reward_model
from datachef_jax.verifier.baselines import vendi
from experiments import build_finetunes
from experiments import checkpoints
from experiments import checks
from experiments import correlate
from experiments import dataset_metrics
from experiments import evaluation
from experiments import models
from experiments import parts
from experiments import pools
from experiments import verifiers
from experiments.corpora import judge as judge_corpus
from experiments.engines import Engines

_REWARD = "reward_model"


def build(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> correlate.Correlate:
    """Builds the experiment."""
    checks.numbers(config)
    section = config.correlate
    checks.require(
        section.fit in build_finetunes.FITS,
        "config.correlate.fit",
        section.fit,
        f"must be one of {sorted(build_finetunes.FITS)}",
    )
    tokenizer = parts.tokenizer(config.tokenizer, root)
    published = (_REWARD,) if config[_REWARD].checkpoint else ()
    names = ("policy", "base", "judge", "generator", *verifiers.held_out(config))
    found = models.load_each(config, (*names, *published), tokenizer, root)
    loaded = dict(zip((*names, *published), found, strict=True))
    loaded["rater"] = loaded["judge"]
    reader = loaded.pop(_REWARD, loaded["base"])
    pool = parts.tasks(config, workdir, root)
    tasks = _chosen(pool, section.tasks)
    parts.check_questions(config, tasks, tokenizer)
    engines = parts.engines(config, loaded, tokenizer, root)
    sandbox = parts.sandbox(config, engines.client("generator"), tokenizer)
    verifier = verifiers.verifier(
        config,
        engines.client("judge"),
        tokenizer,
        pool,
        held_out=verifiers.held_out_client(config, engines),
        references=verifiers.references(config, sandbox, root),
    )
    return correlate.Correlate(
        workdir=workdir,
        tasks=tasks,
        asked=asked(config, tasks),
        seeds=[config.seed + i for i in range(section.seeds)],
        samples=section.samples,
        write=_write(config, engines, tokenizer, tasks, sandbox, verifier),
        executor=Executor(sandbox=sandbox, row_cap=0),
        rewarded=Executor(sandbox=sandbox, row_cap=config.sandbox.row_cap),
        verifier=verifier,
        baselines=_baselines(
            config, engines, tokenizer, pool, root, base=loaded["base"], reader=reader
        ),
        finetuner=parts.finetuner(config, loaded["base"], engines, tokenizer, workdir),
        fit=build_finetunes.FITS[section.fit],
        width=section.width,
        proxy=verifiers.proxy_settings(config),
        seed=config.seed,
        sandbox=sandbox,
    )


def _chosen(pool: Sequence[types.Task], names: Sequence[str]) -> list[types.Task]:
    found = {task.name: task for task in pool}
    for name in names:
        checks.require(
            name in found,
            "config.correlate.tasks",
            name,
            f"is no task of the pool; these are {sorted(found)}",
        )
    return [found[name] for name in names]


def asked(config: mlc.ConfigDict, tasks: Sequence[types.Task]) -> list[types.Task]:
    """Returns the tasks with the questions that fine-tuned models are asked."""
    questions = config.correlate.questions
    checks.require(
        questions in ("benchmark", "unseen"),
        "config.correlate.questions",
        questions,
        "must be benchmark or unseen",
    )
    if questions == "benchmark":
        return list(tasks)
    with checks.blame("config.correlate.questions", questions):
        return pools.unseen(config.pool.kind, tasks, seed=config.seed)


def _write(
    config: mlc.ConfigDict,
    engines: Engines,
    tokenizer: ChatTokenizer,
    tasks: Sequence[types.Task],
    sandbox,
    verifier,
) -> Callable[[types.Task], list[str]]:
    """Returns what writes recipes for a task: the policy's first ones that run."""
    style = parts.prompt_style(**config.prompt, apart=config.turns.apart)
    parts.check_prompts(config, tasks, tokenizer, style)
    evaluator = evaluation.Evaluator(
        prompt=functools.partial(parts.prompt, tokenizer=tokenizer, style=style),
        decode=tokenizer.decode,
        conversation=parts.conversation(config, tokenizer, style),
        executor=Executor(sandbox=sandbox, row_cap=config.sandbox.row_cap),
        verifier=verifier,
        recipes=config.evaluation.recipes,
        temperature=config.sampling.temperature,
    )

    def write(task: types.Task) -> list[str]:
        (rollouts,) = evaluator.measure(
            engines.client("policy"),
            [task],
            seed=config.seed,
            progress=lambda count: None,
        )
        ran = [r.completion for r in rollouts if r.execution == "ok"]
        failed = [r.completion for r in rollouts if r.execution != "ok"]
        most = config.correlate.policy_recipes
        return list(dict.fromkeys(ran))[:most] + failed[:1]  # one that fails, too

    return write


def _baselines(
    config: mlc.ConfigDict,
    engines: Engines,
    tokenizer: ChatTokenizer,
    pool: Sequence[types.Task],
    root: pathlib.Path,
    *,
    base: models.Model,
    reader: models.Model,
) -> Mapping[str, dataset_metrics.Baseline]:
    """Builds the baselines.

    Args:
      config: Its sections baselines and reward_model.
      engines: Of the model that is to be fine-tuned, and of the judge, who rates.
      tokenizer: Of all models.
      pool: All tasks.
      root: What paths in the config are relative to.
      base: The model that is to be fine-tuned.
      reader: Whose view of a row the reward model's head is a function of.
    """
    section = config.baselines

    def embedder(model: models.Model, pooling: str) -> embeddings.Embedder:
        return embeddings.Embedder(
            graphdef=model.graphdef,
            params=model.params,
            tokenizer=tokenizer,
            pooling=pooling,
            max_tokens=section.max_tokens,
            batch_tokens=section.batch_tokens,
        )

    read = dict(
        client=engines.client("base"),
        tokenizer=tokenizer,
        max_tokens=section.max_tokens,
    )
    with checks.blame("config.baselines", section.to_dict()):
        surprise = perplexity.Perplexity(**read)
        read_by = embedder(reader, "last")
        return {
            "ifd": ifd.Ifd(**read).measure,
            "perplexity": lambda pairs: -math.log(surprise.measure(pairs)),
            "deita": deita.Deita(
                client=engines.client("rater"),
                tokenizer=tokenizer,
                embedder=embedder(base, "last"),
                max_prompt_tokens=section.rater_prompt_tokens,
                min_distance=section.min_distance,
            ).measure,
            "reward model": reward_model.RewardModel(
                embedder=read_by, head=_head(config, read_by, pool, root)
            ).measure,
            "vendi": vendi.Vendi(
                embedder=embedder(base, "mean"),
                max_rows=section.max_rows,
                seed=config.seed,
            ).measure,
        }


def _head(
    config: mlc.ConfigDict,
    embedder: embeddings.Embedder,
    pool: Sequence[types.Task],
    root: pathlib.Path,
) -> reward_model.Head:
    """Returns a published head, or one fitted to rows with planted faults."""
    section = config[_REWARD]
    if section.checkpoint:
        return reward_model.load(checkpoints.find(section.checkpoint, root))
    training = [task for task in pool if not task.held_out]
    rows = judge_corpus.labelled_rows(
        training,
        count=section.rows,
        exclude=[example.question for task in pool for example in task.examples],
        seed=config.seed,
    )
    labels = np.array([float(row.grade == "E") for row in rows])
    embedded = embedder.embed([(row.question, row.answer) for row in rows])
    return reward_model.fit(embedded.vectors, labels, penalty=section.penalty)


PROGRAMMES = {"correlate": build}
