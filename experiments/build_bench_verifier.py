"""Builds the benchmark of the verifier from its config."""

from collections.abc import Sequence
import functools
import os
import pathlib
import shutil
import sys

import ml_collections as mlc
import numpy as np
import tqdm

from datachef_jax import types
from datachef_jax.models.qwen3 import weights
from datachef_jax.recipes import compose
from datachef_jax.recipes import parse
from datachef_jax.recipes.execute import Executor
from datachef_jax.tasks import real_math
from datachef_jax.tasks.mini import names
from datachef_jax.text import tokenizer as tokenizers
from experiments import bench_verifier
from experiments import bench_workloads
from experiments import checks
from experiments import models
from experiments import parts
from experiments.bench_verifier import Setting
from experiments.peers.our_verifier import Inputs

_SECTIONS = ("tokenizer", "policy", "judge", "engine", "serving", "verifier")


def build(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_verifier.BenchVerifier:
    """Builds the experiment behind `configs/bench/verifier.py`."""
    checks.numbers(config)
    checks.require(
        config.warm_up < config.rl.steps,
        "config.warm_up",
        config.warm_up,
        f"must be below config.rl.steps={config.rl.steps}",
    )
    checks.require(
        config.judge.mode == "expected",
        "config.judge.mode",
        config.judge.mode,
        "must be 'expected': the peers have no other one",
    )
    makers = {"mini": _mini, "full": _full}
    settings = {}
    for name in config.settings:
        checks.require(
            name in makers, "config.settings", name, f"must be of {sorted(makers)}"
        )
        settings[name] = makers[name](config, root)
    return bench_verifier.BenchVerifier(
        workdir=workdir,
        root=root,
        settings=settings,
        python=sys.executable,
        peer=_peer(config),
        rounds=config.rounds,
        tolerance=config.tolerance,
        steps=config.to_dict(),
        warm_up=config.warm_up,
    )


def _peer(config: mlc.ConfigDict) -> str:
    """Returns the absolute path of the peer's interpreter, "" for none."""
    python = config.peers.transformers
    path = shutil.which(python) if python else ""
    checks.require(
        path is not None,
        "config.peers.transformers",
        python,
        "there is no such program",
    )
    return os.path.abspath(path) if path else ""


def _inputs(
    config: mlc.ConfigDict,
    pool: Sequence[types.Task],
    tasks: Sequence[types.Task],
    executions: Sequence[types.Execution],
) -> Inputs:
    plain = config.to_dict()
    seeds = np.random.SeedSequence(config.seed).generate_state(len(tasks))
    return Inputs(
        config={name: plain[name] for name in _SECTIONS},
        pool=pool,
        tasks=tasks,
        executions=executions,
        seeds=seeds.tolist(),
    )


def _mini(config: mlc.ConfigDict, root: pathlib.Path) -> Setting:
    """Returns the shipped judge and datasets of the mini tasks."""
    make = functools.partial(parts.make_sandbox, config.sandbox, lambda batch: [])
    make()  # finds what cannot be

    def ask(folder: pathlib.Path) -> Inputs:
        pool = parts.tasks(config, folder, root)
        tasks = [task for task in pool for _ in range(config.mini.datasets)]
        rng = np.random.default_rng(config.seed)
        texts = [_recipe(task, rng, config.pool) for task in tasks]
        with make() as sandbox, tqdm.tqdm(total=len(tasks), desc="datasets") as bar:
            executor = Executor(sandbox=sandbox, row_cap=config.sandbox.row_cap)
            executions = executor.run(tasks, texts, range(len(tasks)), bar.update)
        for task, execution in zip(tasks, executions, strict=True):
            if execution.kind != "ok":
                raise RuntimeError(f"{task.name}: {execution.kind}\n{execution.log}")
        return _inputs(config, pool, tasks, executions)

    return Setting(ask=ask, batches=config.mini.batches)


def _recipe(task: types.Task, rng: np.random.Generator, pool: mlc.ConfigDict) -> str:
    """Returns a recipe that takes some sources as they are, as many as training shows.

    None of its sources waits for a language model's answers.
    """
    usable = [source for source in task.sources if not source.plain.generate]
    count = min(int(rng.integers(pool.smallest, pool.largest + 1)), len(usable))
    chosen = [usable[i] for i in rng.permutation(len(usable))[:count]]
    uses = [(source, source.plain) for source in chosen]
    return parse.render(compose.compose(uses, deduplicate=False))


def _full(config: mlc.ConfigDict, root: pathlib.Path) -> Setting:
    """Returns a random judge with the whole rubric, and rows of GSM8K."""
    section = config.full
    changed = mlc.ConfigDict(config.to_dict())
    with checks.blame("config.full.changes", section.changes.to_dict()):
        changed.update(section.changes)
    with checks.blame("config.settings", "full"):
        pool = real_math.build(root, benchmark_size=section.benchmark_size)
        data = real_math.data_folder(root)
        lines = bench_workloads.read_gsm8k(data, rows=section.datasets)
    changed.judge.checkpoint = "random"
    named = section.changes.architecture.to_dict()
    with checks.blame("config.full.changes.architecture", named):
        sizes = models.sizes(changed, "judge", vocab_size=section.vocab_size)
    (task,) = (task for task in pool if task.name == "gsm8k")

    def ask(folder: pathlib.Path) -> Inputs:
        tokenizers.train(
            [f"{line['question']}\n{line['answer']}" for line in lines],
            names=names.quoted(),
            vocab_size=section.vocab_size,
            folder=folder / "tokenizer",
        )
        model = weights.random(
            sizes, models.compute(changed, "judge"), seed=config.seed
        )
        weights.save(model, folder / "weights", stored_dtype="float32")
        changed.tokenizer = str(folder / "tokenizer")
        changed.judge.checkpoint = str(folder / "weights")
        each = len(lines) // section.datasets
        executions = [
            _execution([gsm8k_row(line) for line in lines[i * each : (i + 1) * each]])
            for i in range(section.datasets)
        ]
        return _inputs(changed, pool, [task] * section.datasets, executions)

    return Setting(ask=ask, batches=section.batches)


def gsm8k_row(line: dict[str, str]) -> types.Row:
    """Returns a row of GSM8K as its task wants it: with its steps, and a box."""
    steps, _, result = line["answer"].rpartition("####")
    answer = f"{steps.strip()}\n\\boxed{{{result.strip()}}}"
    return {
        "dialogs": [
            {"role": "user", "content": line["question"]},
            {"role": "assistant", "content": answer},
        ]
    }


def _execution(rows: Sequence[types.Row]) -> types.Execution:
    return types.Execution(kind="ok", log="", dataset=types.Dataset(rows=tuple(rows)))


PROGRAMMES = {"bench_verifier": build}
