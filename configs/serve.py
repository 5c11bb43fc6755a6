r"""Serves a model over HTTP, in OpenAI's protocol: completions, chats, scores.

    python experiments/run.py --config=configs/serve.py

By default the shipped mini judge, on this machine alone. A checkpoint of your own:

    KEY=... python experiments/run.py --config=configs/serve.py \
        --config.policy.checkpoint=<folder> --config.tokenizer=<folder> \
        --config.policy.dtype=bfloat16 --config.policy.param_dtype=bfloat16 \
        --config.serve.host=0.0.0.0 --config.serve.key_variable=KEY

Ask it with any client of OpenAI's protocol, whose fields and ours stand at the top of
`datachef_jax/serving/asked.py`; or let it judge or answer in a run elsewhere:
`--config.judge.checkpoint=http://<host>:8000/mini-judge`, with the key that
`config.remote` names. `/health` and `/statistics` say how it is. There is no TLS:
between machines, put it behind what has it.
"""

import ml_collections as mlc

_SHIPPED = "configs/mini/checkpoints"


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run; nothing is set anywhere else."""
    config = mlc.ConfigDict()
    config.seed = 0  # of random weights; a request without a seed gets a random one
    config.experiment = "serve"
    config.mesh = dict(data=1, model=1)  # data=-1: all devices that are left

    config.tokenizer = f"{_SHIPPED}/tokenizer"  # folder of a byte-level tokenizer
    config.policy = dict(  # the model that is served
        checkpoint=f"{_SHIPPED}/judge",
        dtype="float32",  # of the computations
        param_dtype="float32",  # of the weights
        remat="none",  # nothing learns here
        shard_sequence=False,  # nor is any sequence long enough
        unroll=4,  # layers at a time
    )

    config.serve = dict(
        name="mini-judge",  # by which requests name the model
        host="127.0.0.1",  # any other address needs a key
        port=8000,  # 0 for any that is free
        key_variable="",  # variable of the environment that holds the key
        key_file="",  # or the file that does; neither: no key
    )
    config.slices = dict(  # tokens of each completion before new requests are looked at
        rounds=16,
        drafted_rounds=4,  # where somebody streams, or has stop strings
    )
    config.limits = dict(
        requests=256,  # under way or waiting; others are told to come again (429)
        connections=512,  # at a time; others are turned away (503)
        choices=64,  # completions or prompts of one body
        seconds=600.0,  # that a body may take, unless it says less
        body_bytes=2**20,
        body_seconds=30.0,  # in which a body must have come
        grammar_seconds=10.0,  # that a regex or schema may take to compile
        grammar_bytes=4 * 2**30,  # of address space, the same
    )
    config.engine = dict(  # all fixed when it is compiled; see `sampling/state.py`
        rows=16,  # completions decoded at a time
        group=8,  # most completions of one prompt that share its place
        page_size=64,  # positions of a page of keys and values
        max_prompt=1024,  # tokens
        max_new_tokens=512,  # of a completion; also its limit, if a chat names none
        read_tokens=256,  # of prompts, at a time
        reserve_bytes=2**30,  # of memory, left to all but pages
        weights="same",  # or "int8": configs/bench/int8.py says what that changes
        pages="same",  # or "int8", or "float8"
        stop_ids=4,  # most stop tokens of a request
        candidates=32,  # most tokens of a request that are scored
        grammars=4,  # in use at a time
        grammar_states=2048,  # most of a grammar; any JSON object has 1,623 here
        grammar_classes=256,  # kinds of tokens that a grammar tells apart
    )
    return config
