"""Builds benchmarks from their configs; see `bench_*.py`."""

from collections.abc import Mapping
import functools
import os
import pathlib
import shutil
import sys
from typing import Any

import jax
import ml_collections as mlc

from datachef_jax.models.qwen3 import sizes
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.quantize import Stored
from datachef_jax.sampling.request import Sampling
from datachef_jax.tasks import real_math
from experiments import bench_decode
from experiments import bench_engine
from experiments import bench_inputs
from experiments import bench_int8
from experiments import bench_load
from experiments import bench_mfu
from experiments import bench_update
from experiments import bench_workloads
from experiments import checks
from experiments import models
from experiments import parts

_REMAT = ("none", "full")  # what all three programs know
_STORED = ("float32", "bfloat16", "float16")
_TUNIX_THETA = 1_000_000.0
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


def _engine(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_engine.BenchEngine:
    """Builds the experiment behind `configs/bench/engine.py`."""
    backend = jax.default_backend()
    checks.require(backend == "cpu", "JAX_PLATFORMS", backend, "it runs on a CPU")
    architecture = _architecture(config.architecture, "config.architecture")
    checks.require(
        architecture.rope_theta == _TUNIX_THETA or not config.peers.tunix,
        "config.architecture.rope_theta",
        architecture.rope_theta,
        f"config.peers.tunix reads none but {_TUNIX_THETA}",
    )
    return bench_engine.BenchEngine(
        workdir=workdir,
        root=root,
        seed=config.seed,
        architecture=architecture,
        workloads=_workloads(config, architecture, root),
        rows=config.rows.to_dict(),
        pythons={"ours": sys.executable, **_peers(config)},
        rounds=config.rounds,
        floor_slots=config.floor_slots,
    )


def _int8(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_int8.BenchInt8:
    """Builds the experiment behind `configs/bench/int8.py`."""
    variants = [
        _stored(f"config.variants[{i}]", dict(fields))
        for i, fields in enumerate(config.variants)
    ]
    tokenizer = parts.tokenizer(config.tokenizer, root)
    style = parts.prompt_style(**config.prompt)
    tasks = parts.tasks(config, workdir, root)[: config.prompts]

    def load(dtype: str) -> models.Model:
        varied = mlc.ConfigDict(config.to_dict())
        varied.policy.dtype = dtype
        return models.load(varied, "policy", tokenizer, root)

    reference = dict(dtype=config.policy.dtype, weights="same", pages="same")
    return bench_int8.BenchInt8(
        workdir=workdir,
        load=functools.lru_cache(load),
        prompts=[parts.prompt(task, tokenizer, style) for task in tasks],
        group_size=config.group_size,
        sampling=Sampling(
            max_new_tokens=config.max_new_tokens, temperature=config.temperature
        ),
        rows=config.rows,
        page_size=config.page_size,
        end_id=tokenizer.end_id,
        reference=_stored("config.policy", reference),
        variants=variants,
        seed=config.seed,
    )


def _decode(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_decode.BenchDecode:
    """Builds the experiment behind `configs/bench/decode.py`."""
    del root
    checks.require(
        config.dtype in models.DTYPES,
        "config.dtype",
        config.dtype,
        f"must be one of {models.DTYPES}",
    )
    checks.require(
        config.page_size.bit_count() == 1,
        "config.page_size",
        config.page_size,
        "must be a power of two",
    )
    return bench_decode.BenchDecode(
        workdir=workdir,
        models=dict(
            _named(section, f"config.architectures[{i}]")
            for i, section in enumerate(config.architectures)
        ),
        compute=Compute(
            dtype=config.dtype,
            param_dtype=config.dtype,
            remat="none",
            shard_sequence=False,
            unroll=1,
        ),
        rows=config.rows,
        prompt_tokens=config.prompt_tokens,
        rounds=config.rounds,
        repeats=config.repeats,
        page_size=config.page_size,
        read_tokens=config.read_tokens,
        copy_bytes=config.copy_bytes,
        seed=config.seed,
    )


def _stored(name: str, fields: dict[str, str]) -> bench_int8.Variant:
    with checks.blame(name, fields):
        dtype = fields.pop("dtype")
        if dtype not in models.DTYPES:
            raise ValueError(f"dtype must be one of {models.DTYPES}")
        return bench_int8.Variant(dtype=dtype, stored=Stored(**fields))


def _named(section: Mapping[str, Any], field: str) -> tuple[str, Qwen3Config]:
    """Returns the name and the sizes that a section has."""
    rest = dict(section)
    return rest.pop("name"), _architecture(mlc.ConfigDict(rest), field)


def _architecture(section: mlc.ConfigDict, field: str) -> Qwen3Config:
    """Returns the sizes that a section names, as published, or lists."""
    if "published" in section:
        checks.require(
            section.published in sizes.QWEN3,
            f"{field}.published",
            section.published,
            f"must be one of {sorted(sizes.QWEN3)}",
        )
        return sizes.QWEN3[section.published]
    with checks.blame(field, section.to_dict()):
        return Qwen3Config(**section)


def _workloads(
    config: mlc.ConfigDict, architecture: Qwen3Config, root: pathlib.Path
) -> dict[str, dict[str, Any]]:
    """Makes the workloads that are to be measured."""
    greedy = bench_workloads.Greedy(**config.greedy)
    vocab_size, seed = architecture.vocab_size, config.seed

    def equal(section: mlc.ConfigDict) -> dict[str, Any]:
        sizes = bench_workloads.Equal(**section)
        return bench_workloads.equal(sizes, greedy, vocab_size=vocab_size, seed=seed)

    def rl(section: mlc.ConfigDict) -> dict[str, Any]:
        sizes = bench_workloads.Rl(**section)
        return bench_workloads.rl(sizes, greedy, vocab_size=vocab_size, seed=seed)

    def judge(section: mlc.ConfigDict) -> dict[str, Any]:
        sizes = bench_workloads.Judge(**section)
        data = real_math.data_folder(root)
        lines = bench_workloads.read_gsm8k(data, rows=sizes.rows)
        return bench_workloads.judge(sizes, lines, vocab_size=vocab_size)

    makers = {"equal": equal, "rl": rl, "judge": judge}
    made = {}
    for name in config.workloads:
        checks.require(
            name in makers, "config.workloads", name, f"must be of {sorted(makers)}"
        )
        with checks.blame(f"config.{name}", config[name].to_dict()):
            made[name] = makers[name](config[name])
            bench_workloads.check(made[name], max_positions=architecture.max_positions)
        _check_rows(config, name)
    return made


def _check_rows(config: mlc.ConfigDict, workload: str) -> None:
    group = config[workload].get("group", 1)
    for program, tried in config.rows.items():
        for rows in tried:
            checks.require(
                rows % group == 0,
                f"config.rows.{program}",
                rows,
                f"must be a multiple of config.{workload}.group={group}",
            )


PROGRAMMES = {
    "bench_update": _update,
    "bench_load": _load,
    "bench_engine": _engine,
    "bench_int8": _int8,
    "bench_decode": _decode,
}
