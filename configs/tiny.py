"""The quickstart cut to under 90 seconds: its path is whole, its figures mean nothing.

python experiments/run.py --config=configs/tiny.py
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns the quickstart with everything that costs time cut down."""
    config = quickstart.get_config()
    config.pool.update(benchmark_size=16, smallest=2, largest=3)
    config.sandbox.update(row_cap=40)
    config.verifier.update(rows_per_dataset=8)
    config.verifier.gates.update(enough_rows=400)
    config.rl.update(steps=2, prompts_per_step=2, group_size=4, micro_batch=8)
    config.sampling.update(rows=16)
    config.finetune.update(steps=4, warmup_steps=1, sync_every=4)
    config.evaluation.update(recipes=4, oracle=1)
    return config
