"""Hand-written recipes of the held-out tasks, fine-tuned: does the data matter?

python experiments/run.py --config=configs/mini/span.py
"""

import ml_collections as mlc

from configs.mini import table1


def get_config() -> mlc.ConfigDict:
    """Returns the settings of `table1.py` for hand-written recipes and two seeds."""
    config = table1.get_config()
    config.experiment = "span"
    config.evaluation.seeds = 2
    return config
