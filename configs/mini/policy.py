"""The mini policy before its cold start: the recipe format, and copying names.

    python experiments/run.py --config=configs/mini/policy.py

First it copies names from lists; then it lists the sources of random recipes of every
degree of care on training tasks, then writes whole recipes too, with names and topics
drawn anew.
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


def _shown(row_tokens: int, fewest: int, most: int):
    return dict(
        count=8000,
        min_sources=fewest,
        max_sources=most,
        topics_share=0.6,
        max_tokens=row_tokens,
    )


def _plans(steps: int, row_tokens: int, fewest: int, most: int):
    return dict(
        steps=steps,
        shape=dict(rows=8, row_tokens=row_tokens, row_targets=384),
        plans=_shown(row_tokens, fewest, most),
    )


def _plans_and_recipes(steps: int, row_tokens: int, fewest: int, most: int):
    stage = _plans(steps, row_tokens, fewest, most)
    return stage | dict(recipes=_shown(row_tokens, fewest, most))


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the making."""
    config = base.get_config()
    config.experiment = "make_policy"
    del config.documents, config.stage
    config.prompt = dict(
        rules=False, toolkit="", examples_per_source=1, max_example_chars=10
    )
    config.sizes.update(hidden_size=128, intermediate_size=256, head_dim=32)
    config.stages = (
        _spans(500, 4, 5, ""),
        _spans(300, 4, 8, ""),
        _spans(550, 4, 8, ", "),
        _spans(150, 6, 10, ", "),
        _lists(200, 4),
        _lists(300, 10),
        _plans(500, 384, 1, 4),
        _plans(700, 576, 3, 9),
        _plans(900, 768, 4, 12),
        _plans_and_recipes(600, 768, 4, 12),
        _plans_and_recipes(600, 768, 4, 12),
        _plans_and_recipes(600, 768, 4, 12),
    )
    return config
