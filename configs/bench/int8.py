"""What int8 and float8 change in the log-probabilities of the shipped mini policy.

    python experiments/run.py --config=configs/bench/int8.py

Recipes are sampled with everything in float32; then every other way to store weights,
keys and values scores their tokens. Under five minutes on two busy CPU cores, most of
them compiling; int8 for all changes a token's log-probability by 0.002 nats on average.
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run; the policy and its prompts are quickstart's."""
    config = mlc.ConfigDict()
    config.experiment = "bench_int8"
    theirs = quickstart.get_config()
    for name in ("seed", "mesh", "pool", "tokenizer", "architecture", "prompt"):
        config[name] = theirs[name]
    config.policy = theirs.policy  # its dtype is the reference's
    config.prompts = 6  # one for each of so many tasks
    config.group_size = 4
    config.max_new_tokens = 256
    config.temperature = 1.0
    config.rows = 16
    config.page_size = 256  # few of them: a CPU compiles each stretch of 64
    config.variants = (
        dict(dtype="float32", weights="int8", pages="same"),
        dict(dtype="float32", weights="same", pages="int8"),
        dict(dtype="float32", weights="int8", pages="int8"),
        dict(dtype="float32", weights="same", pages="float8"),
        dict(dtype="bfloat16", weights="same", pages="same"),
        dict(dtype="bfloat16", weights="int8", pages="int8"),
    )
    return config
