"""From training rows to fixed-shape batches, several examples in each row.

Rows of one shape compile once; packing wastes 5 to 15 % of them where padding each
example to the longest would waste half. Attention never crosses from one example to
its neighbor, because they bear different segment numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import grain
from grain import experimental as grain_experimental
from jaxtyping import Array, Int
import numpy as np

from datachef_jax import types
from datachef_jax.text import tokenizer as tokenizer_lib

# Rows that wait for a fitting example at the same time. 64 leaves 10 % padding where
# 16 leave 15 % and 256 leave 7 to 14 %, at the same speed.
_PACKING_BINS = 64


class TokenExample(NamedTuple):
    """One tokenized example, neither packed nor padded."""

    tokens: tuple[int, ...]
    loss_mask: tuple[bool, ...]  # True on the tokens that are to be predicted


class Batch(NamedTuple):
    """`rows` of `time` tokens, on the host (NumPy) until it enters a jitted step."""

    tokens: Int[Array | np.ndarray, "rows time"]  # 0 where there is no example
    segments: Int[Array | np.ndarray, "rows time"]  # 1, 2, … in each row; 0: padding
    positions: Int[Array | np.ndarray, "rows time"]  # from 0 in each segment
    # Where in `time` the tokens to be predicted stand, ascending, then zeros. Nothing
    # precedes the token at 0, so 0 never names a target.
    targets: Int[Array | np.ndarray, "rows targets"]


def tokenize_row(
    row: types.Row,
    tokenizer: tokenizer_lib.ChatTokenizer,
    *,
    max_tokens: int,
    max_targets: int,
) -> TokenExample:
    """Tokenizes the dialog of a row; the assistant's tokens are the targets.

    Args:
      row: See `types.Row`.
      tokenizer: Of the model in training.
      max_tokens: What is longer is cut off at the end.
      max_targets: The same, for the tokens to be predicted.

    Returns:
      The example, without the tokens after its last target, which teach nothing. It
      is empty if it has no target.
    """
    tokens, mask = tokenizer.chat_with_mask(row["dialogs"])
    places = np.flatnonzero(mask[:max_tokens])[:max_targets]
    end = int(places[-1]) + 1 if places.size else 0
    return TokenExample(tuple(tokens[:end]), tuple(mask[:end]))


def tokenize_rows(
    rows: Sequence[types.Row],
    tokenizer: tokenizer_lib.ChatTokenizer,
    *,
    max_tokens: int,
    max_targets: int,
) -> list[TokenExample]:
    """Tokenizes rows as `tokenize_row` does, and drops those without a target."""
    examples = (
        tokenize_row(row, tokenizer, max_tokens=max_tokens, max_targets=max_targets)
        for row in rows
    )
    return [example for example in examples if example.tokens]


def batches(
    examples: Sequence[TokenExample],
    *,
    rows: int,
    row_tokens: int,
    row_targets: int,
    seed: int,
) -> grain.DatasetIterator[Batch]:
    """Packs the examples into batches without end, reshuffled in every epoch.

    Args:
      examples: What to learn from. The first token of an example is never a target,
        whatever its mask says, for nothing precedes it.
      rows: Rows of a batch.
      row_tokens: Length of a row, in tokens.
      row_targets: How many tokens of a row can be targets. Logits are computed for so
        many positions of each row and for no other.
      seed: Of the order; the same examples and seed give the same batches.

    Returns:
      An iterator. Its `get_state()` is a small dict of JSON types; an iterator made
      by the same call goes on from there after `set_state(that)`.

    Raises:
      ValueError: If there are no examples, or one does not fit into a row.
    """
    if not examples:
        raise ValueError("examples must not be empty")
    records = [
        _record(example, index, row_tokens=row_tokens, row_targets=row_targets)
        for index, example in enumerate(examples)
    ]
    stream = grain.MapDataset.source(records).seed(seed).shuffle().repeat()
    # No threads: the records lie in memory.
    in_place = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    packed = grain_experimental.FirstFitPackIterDataset(
        stream.to_iter_dataset(in_place),
        length_struct={
            "tokens": row_tokens,
            "is_target": row_tokens,
            "targets": row_targets,
        },
        num_packing_bins=_PACKING_BINS,
        seed=seed,
        meta_features=("is_target", "targets"),
    )
    # The stream never ends, so no example is lost to a dropped remainder.
    return iter(packed.batch(rows, drop_remainder=True).map(_to_batch))


def _record(
    example: TokenExample, index: int, *, row_tokens: int, row_targets: int
) -> dict[str, np.ndarray]:
    """Returns the example as arrays, checked to fit into a row."""
    tokens = np.asarray(example.tokens, np.int32)
    is_target = np.asarray(example.loss_mask, bool)
    if tokens.shape != is_target.shape:
        raise ValueError(
            f"examples[{index}] has {tokens.size} tokens, but a loss_mask of "
            f"{is_target.size}"
        )
    is_target[:1] = False
    if not 0 < tokens.size <= row_tokens:
        raise ValueError(
            f"examples[{index}] has {tokens.size} tokens, a row has {row_tokens}"
        )
    targets = tokens[is_target]
    if targets.size > row_targets:
        raise ValueError(
            f"examples[{index}] has {targets.size} targets, a row has {row_targets}"
        )
    # Nobody reads the `targets`: packing them makes those of a row fit as well.
    return {"tokens": tokens, "is_target": is_target, "targets": targets}


def _to_batch(packed: dict[str, np.ndarray]) -> Batch:
    """Turns the booleans of each row into places: Trues first, in order."""
    is_target = packed["is_target"]
    width = packed["targets"].shape[-1]
    places = np.argsort(~is_target, axis=-1, kind="stable")[:, :width]
    found = np.take_along_axis(is_target, places, axis=-1)
    return Batch(
        tokens=packed["tokens"],
        segments=packed["tokens_segment_ids"],
        positions=packed["tokens_positions"],
        targets=np.where(found, places, 0).astype(np.int32),
    )
