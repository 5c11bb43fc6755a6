"""How much of the memory's bandwidth decoding reaches, on the device that there is.

    python experiments/run.py --config=configs/bench/decode.py         # a GPU of 80 GB
    python experiments/run.py --config=configs/bench/decode.py:mini    # two CPU cores

Random weights of published sizes, in bfloat16; mini: 27 million, in float32. All rows
begin with a prompt of 128 tokens.
"""

import ml_collections as mlc

from configs.bench import engine


def get_config(where: str = "gpu") -> mlc.ConfigDict:
    """Returns every setting of the run."""
    if where not in ("gpu", "mini"):
        raise ValueError(f"{where!r} is none of 'gpu', 'mini'")
    mini = where == "mini"
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_decode"
    config.mesh = dict(data=1, model=1)
    config.architectures = (
        (dict(name="30m", **engine.get_config("30m").architecture),)
        if mini
        else tuple(dict(name=x, published=x) for x in ("0.6b", "1.7b", "8b"))
    )
    config.dtype = "float32" if mini else "bfloat16"
    config.rows = (8, 32) if mini else (8, 64, 256)
    config.prompt_tokens = 128
    config.rounds = 32  # timed at a time
    config.repeats = 3
    config.page_size = 64
    config.read_tokens = 256 if mini else 2048
    config.copy_bytes = 2**28 if mini else 2**32
    return config
