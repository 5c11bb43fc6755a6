"""The shipped tokenizer: byte-level BPE on mini prompts, recipes and rows.

    python experiments/run.py --config=configs/mini/tokenizer.py

Half a minute on one CPU core.
"""

import ml_collections as mlc


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the making."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "make_tokenizer"
    config.mesh = dict(data=1, model=1)
    config.pool = dict(kind="mini", seed=0, benchmark_size=200)
    config.prompt = dict(
        rules=False, toolkit=False, examples_per_source=1, max_example_chars=10
    )
    config.vocab_size = 2048
    config.recipes = 3000
    config.rows_per_source = 100
    return config
