"""Recipes that ask a language model, many at once, on one engine.

    python experiments/run.py --config=configs/bench/llm_calls.py

Twenty recipes of a hundred LLM calls each: one after the other, all at once, asking
row by row, and all at once beside recipes that flood their channel or the model.
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run."""
    whole = quickstart.get_config()
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_llm_calls"
    for section in ("mesh", "tokenizer", "policy", "generator", "engine", "serving"):
        config[section] = whole[section]
    # Random weights end no answer: each has all of its 40 tokens.
    config.generator.checkpoint, config.architecture = "random", whole.architecture
    config.sandbox = whole.sandbox
    config.sandbox.workers = 24  # scripts wait for the model most of the time
    del config.sandbox.row_cap
    config.recipes = 20
    config.calls = 100  # of each
    config.flooding = 2  # recipes of each kind that floods
    return config
