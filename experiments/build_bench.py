"""Builds the benchmarks from their configs; see `bench_update.py`, `bench_load.py`."""

import os
import pathlib
import shutil
import sys

import jax
import ml_collections as mlc

from datachef_jax.models.qwen3 import sizes
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from experiments import bench_inputs
from experiments import bench_load
from experiments import bench_mfu
from experiments import bench_update
from experiments import checks

_REMAT = ("none", "full")  # what all three programs know
_STORED = ("float32", "bfloat16", "float16")
_PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"


def _update(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_update.BenchUpdate:
    """Builds the experiment behind `configs/bench/update.py`."""
    if jax.default_backend() != "cpu" and os.environ.get(_PREALLOCATE) != "false":
        raise checks.UserError(
            f"on an accelerator set {_PREALLOCATE}=false: several processes share it"
        )
    settings = {
        "objective": config.objective.to_dict(),
        "optimizer": config.optimizer.to_dict(),
    }
    with checks.blame("config.architecture", config.architecture.to_dict()):
        architecture = Qwen3Config(**config.architecture)
    return bench_update.BenchUpdate(
        workdir=workdir,
        root=root,
        seed=config.seed,
        architecture=architecture,
        dtypes={"dtype": config.dtype, "param_dtype": config.param_dtype},
        rows=_rows(config),
        settings=settings,
        variants=_variants(config),
        pythons={"ours": sys.executable, **_peers(config)},
        rounds=config.rounds,
        steps=config.steps,
        tolerance=config.tolerance.to_dict(),
        mfu=_mfu(config, settings),
    )


def _rows(config: mlc.ConfigDict) -> bench_inputs.Rows:
    batch = config.batch
    checks.require(
        batch.shortest_completion <= batch.new_tokens,
        "config.batch.shortest_completion",
        batch.shortest_completion,
        f"is above config.batch.new_tokens={batch.new_tokens}",
    )
    return bench_inputs.Rows(**batch)


def _variants(config: mlc.ConfigDict) -> list[bench_update.Variant]:
    variants = []
    for i, fields in enumerate(config.variants):
        with checks.blame(f"config.variants[{i}]", dict(fields)):
            variant = bench_update.Variant(**fields)
            if variant.program not in ("ours", *config.peers):
                raise ValueError(f"the programs are ours and {sorted(config.peers)}")
            if variant.remat not in _REMAT:
                raise ValueError(f"remat must be one of {_REMAT}")
            if config.batch.rows % variant.micro_batch:
                raise ValueError(f"{config.batch.rows} rows cannot be divided so")
        variants.append(variant)
    return variants


def _peers(config: mlc.ConfigDict) -> dict[str, str]:
    """Returns the absolute path of each peer's interpreter, "" for none."""
    found = {}
    for name, python in config.peers.items():
        path = shutil.which(python) if python else ""
        checks.require(
            path is not None, f"config.peers.{name}", python, "there is no such program"
        )
        found[name] = os.path.abspath(path) if path else ""
    return found


def _mfu(config: mlc.ConfigDict, settings: dict) -> bench_mfu.Mfu:
    section = config.mfu
    models = {}
    for name in section.models:
        checks.require(
            name in sizes.QWEN3,
            "config.mfu.models",
            name,
            f"must be one of {sorted(sizes.QWEN3)}",
        )
        models[name] = sizes.QWEN3[name]
    return bench_mfu.Mfu(
        models=models,
        compute=Compute(
            dtype=section.dtype,
            param_dtype=section.param_dtype,
            remat=section.remat,
            shard_sequence=False,
            unroll=1,
        ),
        rows=bench_inputs.Rows(
            rows=section.rows,
            prompt_tokens=section.prompt_tokens,
            new_tokens=section.new_tokens,
            shortest_completion=section.new_tokens,
            behavior_noise=0.0,
        ),
        micro_batch=section.micro_batch,
        steps=section.steps,
        settings=settings,
        peak_tflops=section.peak_tflops,
        seed=config.seed,
    )


def _load(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_load.BenchLoad:
    """Builds the experiment behind `configs/bench/load.py`."""
    with checks.blame("config.architecture", config.architecture.to_dict()):
        architecture = Qwen3Config(**config.architecture)
    dtype = config.stored_dtype
    checks.require(
        dtype in _STORED, "config.stored_dtype", dtype, f"must be one of {_STORED}"
    )
    return bench_load.BenchLoad(
        workdir=workdir,
        root=root,
        architecture=architecture,
        stored_dtype=dtype,
        max_file_bytes=config.max_file_bytes,
        seed=config.seed,
    )


PROGRAMMES = {"bench_update": _update, "bench_load": _load}
