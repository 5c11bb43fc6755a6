"""The mini policy before its cold start: the recipe format, and copying names.

    python experiments/run.py --config=configs/mini/policy.py

It reads random recipes of every degree of care on training tasks, with names and
topics drawn anew, in a curriculum of longer and longer prompts. `cold_start.py`
makes the shipped policy from it.
"""

import ml_collections as mlc

from configs.mini import base


def _stage(steps: int, row_tokens: int, row_targets: int, fewest: int, most: int):
    return dict(
        steps=steps,
        shape=dict(rows=8, row_tokens=row_tokens, row_targets=row_targets),
        recipes=dict(
            count=8000, min_sources=fewest, max_sources=most, topics_share=0.6
        ),
    )


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the making."""
    config = base.get_config()
    config.experiment = "make_policy"
    del config.documents, config.stage
    config.prompt = dict(
        rules=False, toolkit="", examples_per_source=1, max_example_chars=10
    )
    config.sizes.update(hidden_size=128, intermediate_size=256, head_dim=32)
    config.stages = (_stage(1000, 448, 320, 1, 3), _stage(900, 576, 320, 3, 8))
    return config
