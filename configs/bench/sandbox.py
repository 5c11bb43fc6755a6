"""Recipes a second in the sandbox, beside a Python started for each.

    python experiments/run.py --config=configs/bench/sandbox.py

Empty scripts, and such as use JSON, pandas and `datasets`, in rounds that alternate
between the two; what the layers cost; and honest scripts beside hostile ones.
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_sandbox"
    config.mesh = dict(data=1, model=1)
    config.sandbox = quickstart.get_config().sandbox
    config.sandbox.update(cpu_seconds=2.0, wall_seconds=20.0)  # hostile ones wait less
    del config.sandbox.row_cap
    config.rounds = 5
    config.runs = dict(empty=200, json=100, pandas=60, datasets=40)  # in a round
    config.mixed = 1000
    config.hostile_share = 0.2  # of them
    return config
