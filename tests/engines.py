"""Small engines for tests of what uses them."""

import functools

from datachef_jax.sampling.engine import Engine
from datachef_jax.serving.client import Direct

_MEMORY = 2**30


def make(graphdef, params, *, end_id, **changes):
    """Returns an engine; see `sizing.plan`.

    Whose needs are alike share a compiled program.
    """
    needs = dict(
        rows=16,
        group=8,
        max_prompt=48,
        max_new_tokens=12,
        page_size=16,
        read_tokens=64,
        free_bytes=_MEMORY,
    )
    return Engine.sized(graphdef, params, end_id=end_id, **(needs | changes))


def client(graphdef, params, **needs):
    """Returns a client of an engine of its own; arguments as for `make`."""
    return Direct(make(graphdef, params, **needs), params, version=0)


def clients(graphdef, params, **needs):
    """Returns a function of weights that gives clients of one engine."""
    return functools.partial(Direct, make(graphdef, params, **needs))
