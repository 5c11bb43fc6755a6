"""The shipped policy: supervised fine-tuning on demonstrations kept by rejection.

    python experiments/run.py --config=configs/mini/cold_start.py

Starts from the model of `configs/mini/policy.py`, which is not shipped: run that
first. The demonstrations are on training tasks only.
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns the quickstart's verifier and sandbox with a supervised training."""
    config = quickstart.get_config()
    config.experiment = "cold_start"
    for unused in (
        *("rl", "optimizer", "finetune", "evaluation", "checkpoint", "base"),
        *("alarm", "held_out_judge", "proxy"),
    ):
        del config[unused]
    del config.turns  # every demonstration is a whole recipe
    config.policy.checkpoint = "runs/mini/policy/checkpoint"
    config.pool.smallest = 4
    config.cold_start = dict(
        pools=8,  # ours: with other files for the same tasks, of seeds from pool.seed
        demonstrations=1500,  # the paper: 5,000
        min_score=0.55,  # ours: what is graded below is rejected
        copies=16,  # each retold with other names, the mini stand-in for more of them
        topics_share=0.6,
        steps=1600,
        shape=dict(rows=8, row_tokens=704, row_targets=384),
        optimizer=dict(
            learning_rate=2e-3,
            warmup_steps=50,
            b1=0.95,
            b2=0.99,
            weight_decay=0.01,
            max_grad_norm=1.0,
        ),
    )
    return config
