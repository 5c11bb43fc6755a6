"""What int8 and float8 change in the log-probabilities of the shipped mini policy.

    python experiments/run.py --config=configs/bench/int8.py

Recipes are sampled with everything in float32; then every other way to store weights,
keys and values scores their tokens. Under five minutes on two busy CPU cores, most of
them compiling; int8 for all changes a token's log-probability by 0.002 nats on average.
"""

import ml_collections as mlc

_SHIPPED = "configs/mini/checkpoints"


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_int8"
    config.mesh = dict(data=1, model=1)
    config.pool = dict(
        kind="mini",
        seed=0,
        benchmark_size=200,
        smallest=5,
        largest=12,
        exchange_ids=True,
    )
    config.tokenizer = f"{_SHIPPED}/tokenizer"
    config.policy = dict(
        checkpoint=f"{_SHIPPED}/policy",
        dtype="float32",  # of the reference
        shard_sequence=False,
        unroll=1,
    )
    config.architecture = dict(  # of a policy whose checkpoint is "random"
        hidden_size=128,
        intermediate_size=256,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_embeddings=True,
        max_positions=2048,
    )
    config.prompt = dict(
        rules=False, toolkit="", examples_per_source=1, max_example_chars=10
    )
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
