"""The paper's Table 1 in small: every held-out task, three seeds.

    python experiments/run.py --config=configs/mini/table1.py

Two CPU cores, resumable at any moment.
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns the quickstart on all held-out tasks and three seeds."""
    config = quickstart.get_config()
    config.rl.steps = 100  # ours; the quickstart has less time
    config.evaluation.update(
        tasks=("number_sorting", "chain_sum", "simple_equations"), seeds=3, oracle=4
    )
    return config
