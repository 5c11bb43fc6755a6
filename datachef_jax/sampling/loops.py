"""How the state is changed: in place, and without the pages where they stay."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, TypeVar

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from datachef_jax.sampling.state import State

T = TypeVar("T")


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _NoPages:
    """Stands for pages where they do not matter."""

    size: int


def without_pages(change: Callable[..., State]) -> Callable[..., State]:
    """Keeps the pages out of a change that leaves them alone.

    They are hundreds of arrays, and XLA takes longer to compile each loop that carries
    them.
    """

    @functools.wraps(change)
    def changed(state: State, *rest: Any) -> State:
        pages = state.pages
        light = state._replace(pages=(_NoPages(pages[0].size),))
        return change(light, *rest)._replace(pages=pages)

    return changed


def when(condition: Bool[Array, ""], change: Callable[[T], T], state: T) -> T:
    """Changes the state if the condition holds; in place, where a branch would copy."""
    times = condition.astype(jnp.int32)
    return lax.fori_loop(0, times, lambda _, state: change(state), state)
