"""Small engines for tests of what uses them."""

import functools

from datachef_jax.sampling.engine import Engine
from datachef_jax.serving.client import Direct

_MEMORY = 2**30


def make(graphdef, params, *, end_id, page_size=16, **needs):
    """Returns an engine with room for these needs; see `sizing.plan`."""
    needs = dict(rows=16, group=4, read_tokens=64) | needs
    return Engine.sized(
        graphdef,
        params,
        end_id=end_id,
        page_size=page_size,
        free_bytes=_MEMORY,
        **needs,
    )


def client(graphdef, params, **needs):
    """Returns a client of an engine of its own; arguments as for `make`."""
    return Direct(make(graphdef, params, **needs), params, version=0)


def clients(graphdef, params, **needs):
    """Returns a function of weights that gives clients of one engine."""
    return functools.partial(Direct, make(graphdef, params, **needs))
