"""`sample_config` on the real files that DATACHEF_DATA names."""

import ml_collections as mlc

from tests.experiments import sample_config


def get_config(tokenizer: str) -> mlc.ConfigDict:
    """Returns every setting of the run."""
    config = sample_config.get_config(tokenizer)
    config.pool = dict(kind="real_math", benchmark_size=4, smallest=1, largest=3)
    config.evaluation.tasks = ("gsm8k",)
    return config
