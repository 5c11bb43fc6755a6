"""The mini policy before its cold start: the recipe format, and copying names.

    python experiments/run.py --config=configs/mini/policy.py

First it copies names, then it marks some of a list of sources, repeating what is
remarked of each, and repeats those, then it writes random recipes of every degree of
care for training tasks, with names and topics drawn anew.
`cold_start.py` makes the shipped policy from it.
"""

import ml_collections as mlc

from configs.mini import base


def _spans(steps: int, shortest: int, longest: int, separator: str):
    return dict(
        steps=steps,
        shape=dict(rows=8, row_tokens=256, row_targets=224),
        spans=dict(
            count=20_000, shortest=shortest, longest=longest, separator=separator
        ),
    )


def _lists(steps: int, most: int):
    return dict(
        steps=steps,
        shape=dict(rows=8, row_tokens=256, row_targets=192),
        lists=dict(count=10_000, max_sources=most),
    )


def _recipes(steps: int, row_tokens: int, fewest: int, most: int):
    return dict(
        steps=steps,
        shape=dict(rows=8, row_tokens=row_tokens, row_targets=384),
        recipes=dict(
            count=8000,
            min_sources=fewest,
            max_sources=most,
            topics_share=0.6,
            max_tokens=row_tokens,
        ),
    )


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the making."""
    config = base.get_config()
    config.experiment = "make_policy"
    del config.documents, config.stage
    config.pools = 8  # as in the cold start
    config.prompt = dict(
        rules=False, toolkit=False, examples_per_source=1, max_example_chars=10
    )
    config.sizes.update(hidden_size=128, intermediate_size=256, head_dim=32)
    # The learning rate falls by two thirds only: the cold start lowers it to 0.
    config.optimizer.steps = 6000
    config.stages = (
        _spans(500, 4, 5, ""),
        _spans(300, 4, 8, ""),
        _spans(550, 4, 8, ", "),
        _spans(150, 6, 10, ", "),
        _lists(200, 4),
        _lists(600, 12),
        _recipes(600, 448, 2, 6),
        _recipes(700, 656, 4, 12),
    )
    return config
