"""Builds benchmarks of the sandbox from their configs."""

import functools
import pathlib

import ml_collections as mlc

from experiments import bench_llm_calls
from experiments import bench_sandbox
from experiments import checks
from experiments import models
from experiments import parts
from sandbox.pool import Sandbox


def _sandbox(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_sandbox.BenchSandbox:
    """Builds the experiment behind `configs/bench/sandbox.py`."""
    del root
    runs = config.runs.to_dict()
    for kind in runs:
        checks.require(
            kind in bench_sandbox.SCRIPTS,
            "config.runs",
            kind,
            f"must be of {sorted(bench_sandbox.SCRIPTS)}",
        )
    make = functools.partial(parts.make_sandbox, config.sandbox, lambda batch: [])
    make()  # finds what cannot be
    return bench_sandbox.BenchSandbox(
        workdir=workdir,
        make=make,
        workers=config.sandbox.workers,
        rounds=config.rounds,
        runs=runs,
        mixed=config.mixed,
        hostile_share=config.hostile_share,
        seed=config.seed,
    )


def _llm_calls(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_llm_calls.BenchLlmCalls:
    """Builds the experiment behind `configs/bench/llm_calls.py`."""
    checks.require(
        config.calls <= config.sandbox.llm_calls,
        "config.calls",
        config.calls,
        f"is above config.sandbox.llm_calls={config.sandbox.llm_calls}",
    )
    tokenizer = parts.tokenizer(config.tokenizer, root)
    (generator,) = models.load_each(config, ("generator",), tokenizer, root)
    checks.require(
        generator is not None,
        "config.generator.checkpoint",
        config.generator.checkpoint,
        "lives elsewhere: this measures an engine of our own",
    )
    engines = parts.engines(config, {"generator": generator}, tokenizer, root)

    def make() -> Sandbox:
        return parts.sandbox(config, engines.client("generator"), tokenizer)

    make()  # finds what cannot be
    return bench_llm_calls.BenchLlmCalls(
        workdir=workdir,
        make=make,
        counts=functools.partial(engines.counts, "generator"),
        rows=config.generator.rows,
        recipes=config.recipes,
        calls=config.calls,
        flooding=config.flooding,
    )


PROGRAMMES = {"bench_sandbox": _sandbox, "bench_llm_calls": _llm_calls}
