"""Builds the benchmark of the learned proxy from its config."""

import pathlib

import ml_collections as mlc

from datachef_jax.tasks import real_math
from experiments import bench_proxy
from experiments import checks


def _proxy(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_proxy.BenchProxy:
    """Builds the experiment behind `configs/bench/proxy.py`."""
    with checks.blame("config.folder", config.folder):
        folder = real_math.data_folder(root) / config.folder
        runs = bench_proxy.read(folder, config.target)
    checks.require(
        2 <= config.folds <= config.fitted,
        "config.folds",
        config.folds,
        f"must be from 2 to config.fitted={config.fitted}",
    )
    with checks.blame("config.proxy", config.proxy.to_dict()):
        candidates = bench_proxy.candidates(
            config.representations, config.kernels, config.proxy
        )
    mixtures = runs["train"].mixtures
    fewest = int((mixtures <= config.lacking).sum(0).min())
    checks.require(
        config.fitted < fewest,
        "config.fitted",
        config.fitted,
        f"must be below {fewest}, the runs that lack the commonest domain",
    )
    rarest = float(mixtures.max(0).min())
    for field, least in (("interval", 0), ("lacking", 0), ("far", rarest)):
        checks.require(
            least < config[field] < 1,
            f"config.{field}",
            config[field],
            f"must be above {least} and below 1",
        )
    return bench_proxy.BenchProxy(
        workdir=workdir,
        runs=runs,
        draws=config.draws,
        fitted=config.fitted,
        folds=config.folds,
        candidates=candidates,
        interval=config.interval,
        lacking=config.lacking,
        far=config.far,
        seed=config.seed,
    )


PROGRAMMES = {"bench_proxy": _proxy}
