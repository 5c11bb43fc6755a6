"""Removing rows that say the same again, or nearly so."""

from collections.abc import Sequence
import hashlib
import json
import re
from typing import Any

import datasets
import numpy as np

from sandbox.aidp import rows
from sandbox.aidp import session

_NON_CHARACTERS = re.compile(r"[\W_]+")
_HASHES = 128  # of a MinHash: errs by 0.04 at a similarity of 0.7
_PRIME = (1 << 31) - 1  # products of two numbers below it fit 64 bits


def deduplicate_by_text_hash(
    ds: rows.Rows,
    text_map: rows.Map | None = None,
    lowercase: bool = True,
    ignore_non_character: bool = False,
) -> datasets.Dataset:
    """Keeps the first of all rows that have the same text.

    Args:
      ds: The rows.
      text_map: The text: a column, or a function of a row. By default the first user
        message of rows with `dialogs`, else the whole row.
      lowercase: Whether texts that differ only in case are the same.
      ignore_non_character: Whether texts that differ only in spaces and punctuation
        are the same.
    """
    given = rows.to_rows(ds)
    seen: set[bytes] = set()
    kept = []
    for index, text in enumerate(_texts(given, text_map)):
        text = text.lower() if lowercase else text
        text = _NON_CHARACTERS.sub("", text) if ignore_non_character else text
        key = hashlib.sha1(text.encode("utf-8", "backslashreplace")).digest()
        if key not in seen:
            seen.add(key)
            kept.append(index)
    session.record("deduplicate_by_text_hash", len(given), len(kept))
    return rows.select(ds, given, kept)


def deduplicate_by_minhash(
    ds: rows.Rows,
    text_map: rows.Map | None = None,
    threshold: float = 0.8,
    ngram: int = 3,
) -> datasets.Dataset:
    """Keeps the first of all rows whose texts are nearly the same.

    Args:
      ds: The rows.
      text_map: The text: a column, or a function of a row. By default the first user
        message of rows with `dialogs`, else the whole row.
      threshold: The share of word n-grams that two texts have in common (Jaccard) from
        which on they are the same, above 0 and at most 1; an estimate.
      ngram: Words of an n-gram.

    Raises:
      ValueError: If the threshold or the n-gram cannot be.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold!r}")
    if ngram < 1:
        raise ValueError(f"ngram must be at least 1, got {ngram!r}")
    given = rows.to_rows(ds)
    hashed = _minhashes([_grams(text, ngram) for text in _texts(given, text_map)])
    bands = _bands(threshold)
    buckets: dict[tuple[int, bytes], list[int]] = {}
    kept = []
    for index, signature in enumerate(hashed):
        keys = [
            (number, band.tobytes())
            for number, band in enumerate(np.array_split(signature, bands))
        ]
        like = {other for key in keys for other in buckets.get(key, ())}
        same = (np.mean(hashed[other] == signature) >= threshold for other in like)
        if any(same):
            continue
        kept.append(index)
        for key in keys:
            buckets.setdefault(key, []).append(index)
    session.record("deduplicate_by_minhash", len(given), len(kept))
    return rows.select(ds, given, kept)


def _texts(given: Sequence[rows.Row], text_map: rows.Map | None) -> list[str]:
    text_of = rows.mapper(
        _question if text_map is None else text_map, given, "text_map"
    )
    return [str(text) for text in rows.each(text_of, given, "text_map")]


def _question(row: dict[str, Any]) -> str:
    if "dialogs" in row:
        turns = [turn for turn in row["dialogs"] if turn["role"] == "user"]
        return turns[0]["content"] if turns else ""
    return json.dumps(row, default=str)


def _grams(text: str, ngram: int) -> np.ndarray:
    """Returns a hash of each n-gram of words, below 2**31 - 1; of short texts, one."""
    words = _NON_CHARACTERS.sub(" ", text.lower()).split()
    most = max(len(words) - ngram + 1, 1)
    grams = {" ".join(words[i : i + ngram]) for i in range(most)}
    digests = [hashlib.blake2b(g.encode(), digest_size=8).digest() for g in grams]
    return np.frombuffer(b"".join(digests), np.uint64) % _PRIME


def _minhashes(grams: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the smallest of each of `_HASHES` hashes of a text's n-grams."""
    rng = np.random.default_rng(0)
    factor = rng.integers(1, _PRIME, (_HASHES, 1), np.uint64)
    offset = rng.integers(0, _PRIME, (_HASHES, 1), np.uint64)
    return [((factor * own + offset) % _PRIME).min(1) for own in grams]


def _bands(threshold: float) -> int:
    """Returns in how many parts signatures are looked up.

    The most similar pairs have to meet in one of them: of the numbers of parts that
    find a pair at the threshold in 99 of 100 cases, this is the smallest.
    """
    for bands in range(1, _HASHES + 1):
        if 1 - (1 - threshold ** (_HASHES / bands)) ** bands >= 0.99:
            return bands
    return _HASHES
