"""Datasets of training rows: reading a file of them, and drawing from them."""

from collections.abc import Sequence
import pathlib

from jaxtyping import Int
import numpy as np

from datachef_jax.types import Row
from sandbox import output

_LINE_BYTES = 2**26


def read_file(path: pathlib.Path) -> list[Row]:
    """Reads a file of rows that a user names: all of them have to be whole.

    Raises:
      ValueError: If it is not JSON lines or a row breaks the schema; names the line.
      OSError: If it cannot be read.
    """
    rows = []
    for place, row, error in output.parse(path.name, path.read_bytes(), _LINE_BYTES):
        if error:
            raise ValueError(f"{place}: {error}")
        rows.append(row)
    return rows


def draw(
    rows_count: int, k: int, seed: int | Sequence[int]
) -> Int[np.ndarray, " drawn"]:
    """Draws rows without replacement.

    Args:
      rows_count: How many there are.
      k: How many to draw; all of them if there are no more.
      seed: Determines the draw, together with `rows_count`. Of the same two, a smaller
        draw is the beginning of a larger one.

    Returns:
      Their indices, in random order.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    return generator.permutation(rows_count)[:k]
