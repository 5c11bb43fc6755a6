"""The shipped mini judge, which also answers the recipes' LLM calls.

    python experiments/run.py --config=configs/mini/judge.py

It learns rows with known faults on all twelve tasks, and the answers; the accuracy
that it reports is on rows it has not seen.
"""

import ml_collections as mlc

from configs.mini import base


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the making."""
    config = base.get_config()
    config.seed = 1
    config.experiment = "make_judge"
    del config.documents, config.stage
    config.rubric = dict(name="compact", max_chars=160)
    config.system_prompt = "Answer the question."
    config.held_out_rows = 2000
    config.sizes.update(hidden_size=128, intermediate_size=256, head_dim=32)
    stage = dict(
        steps=800,
        shape=dict(rows=8, row_tokens=256, row_targets=128),
        corpus=dict(rows=30_000, answers=12_000),
    )
    config.stages = (stage,) * 8
    return config
