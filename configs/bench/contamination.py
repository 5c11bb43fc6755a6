"""Contamination by GSM8K's test split in rows made of real files: found and missed.

    python experiments/run.py --config=configs/bench/contamination.py

Copies of test questions, exact, with other models' answers and reworded, are hidden
among the rows of the real files; needs the folder that DATACHEF_DATA names.
"""

import ml_collections as mlc


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_contamination"
    config.mesh = dict(data=1, model=1)
    # Fixed before anything was tuned; tuning took seed 1 and the other half of the
    # questions. Shares: of a sentence's words that are replaced, at most.
    config.rewriter = dict(seed=20_260, share=0.34, larger_share=0.6)
    config.shown = 4  # misses and false alarms of each kind
    return config
