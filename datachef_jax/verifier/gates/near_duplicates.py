"""Rows that nearly repeat an earlier one.

Two texts are near duplicates if their sets of 5-token runs are alike by Jaccard's
measure (Lee et al. 2021, arXiv:2107.06499, section 4.2). MinHash (Broder 1997) finds
the pairs worth comparing, and each is then compared exactly, so that nothing is
flagged by chance. Texts with other numbers, or with the same ones in another order,
are never near duplicates: "sort up: 3 17 4" and "sort up: 17 3 4" have two answers.

Not found: what the comparison of one row with at most 32 others misses. In tests it
finds at least 98 in 100 pairs above the threshold.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib
import itertools

from jaxtyping import Bool
from jaxtyping import Int
from jaxtyping import UInt32
from jaxtyping import UInt64
import numpy as np
import rensa

from datachef_jax.verifier.gates import contamination

_RUN = 5  # tokens
_MIN_TOKENS = 20  # shorter texts repeat others only if they are equal
_HASHES = 128  # of a signature
# Texts of similarity s share a band with probability 1 - (1 - s^4)^32: 0.87 at 0.5,
# 0.99 at 0.6.
_BANDS = 32
_SEED = 1
_FACTOR = 0x9E3779B97F4A7C15  # odd: multiplying by it loses nothing


@dataclasses.dataclass(frozen=True, slots=True)
class Sketch:
    """What of a text is compared with others'.

    Attributes:
      tokens: Hash of all its tokens: those of equal texts, but for case and spacing.
      runs: Hashes of its runs, each once and in order; none of a short text.
      bands: Hashes of the parts of its signature; none of a short text.
    """

    tokens: int
    runs: UInt64[np.ndarray, " runs"]
    bands: UInt64[np.ndarray, " bands"]


def sketches(texts: Sequence[str]) -> list[Sketch]:
    """Returns what of each text is compared, the same in every process."""
    tokens = [contamination.normalise(text) for text in texts]
    runs, starts = _runs(tokens)
    long = np.flatnonzero(np.diff(starts))
    signatures = _signatures(runs, np.append(starts[long], starts[-1]))
    bands = dict(zip(long.tolist(), _bands(signatures), strict=True))
    none = np.zeros(0, np.uint64)
    return [
        Sketch(
            tokens=_hash(own),
            runs=np.unique(runs[starts[row] : starts[row + 1]]),
            # A view would keep all the other rows' from being freed.
            bands=bands[row].copy() if row in bands else none,
        )
        for row, own in enumerate(tokens)
    ]


def near_duplicates(
    sketched: Sequence[Sketch], *, threshold: float
) -> Bool[np.ndarray, " rows"]:
    """Returns which texts repeat, or nearly repeat, an earlier one that does not.

    Args:
      sketched: Of the texts. Equal ones are repeats however short they are.
      threshold: Least Jaccard similarity of two texts that repeat one another, in
        (0, 1]; from 0.6 on few pairs are missed.

    Returns:
      True on repeats: what is left when they are dropped has one of each.
    """
    repeated = np.zeros(len(sketched), bool)
    seen: set[int] = set()
    latest: dict[int, int] = {}  # band -> the last row kept with it
    for row, own in enumerate(sketched):
        if own.tokens in seen:
            repeated[row] = True
            continue
        seen.add(own.tokens)
        if not own.bands.size:
            continue
        bands = own.bands.tolist()
        others = {latest[band] for band in bands if band in latest}
        if any(_jaccard(own, sketched[other]) >= threshold for other in others):
            repeated[row] = True
        else:
            latest.update(dict.fromkeys(bands, row))
    return repeated


def _runs(
    tokens: Sequence[contamination.Tokens],
) -> tuple[UInt64[np.ndarray, " runs"], Int[np.ndarray, " starts"]]:
    """Returns the hashed runs of all texts on end, and where each text's begin.

    The numbers of a text go into all of its runs: with others it has none in common.
    """
    known = {token: _hash([token]) for token in set(itertools.chain(*tokens))}
    lengths = np.array([len(each) for each in tokens], int)
    lengths[lengths < _MIN_TOKENS] = 0
    long = [each for each in tokens if len(each) >= _MIN_TOKENS]
    flat = np.array([known[token] for each in long for token in each], np.uint64)
    numbers = np.array(
        [_hash(token for token in each if token[0].isdecimal()) for each in long],
        np.uint64,
    )
    whole = max(len(flat) - _RUN + 1, 0)
    runs = np.repeat(numbers, lengths[lengths > 0])[:whole]
    for i in range(_RUN):
        runs = runs * np.uint64(_FACTOR) + flat[i : i + whole]
    # Runs that begin in the last tokens of a text reach into the next one.
    ends = np.repeat(np.cumsum(lengths), lengths)[:whole]
    within = np.arange(whole) + _RUN <= ends
    starts = np.concatenate([[0], np.cumsum(np.maximum(lengths - _RUN + 1, 0))])
    return runs[within], starts


def _signatures(
    runs: UInt64[np.ndarray, " runs"], starts: Int[np.ndarray, " starts"]
) -> UInt32[np.ndarray, "rows hashes"]:
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        runs, starts.astype(np.uint64), num_perm=_HASHES, seed=_SEED
    )
    return np.array(matrix.to_rows(), np.uint32).reshape(-1, _HASHES)


def _bands(
    signatures: UInt32[np.ndarray, "rows hashes"],
) -> UInt64[np.ndarray, "rows bands"]:
    """Returns each row's bands as numbers: equal ones are the same band's.

    Two bands that differ agree with a probability of 2^-64, and a row that is compared
    for nothing is no harm.
    """
    parts = signatures.reshape(len(signatures), _BANDS, _HASHES // _BANDS).astype(
        np.uint64
    )
    mixed = np.broadcast_to(np.arange(_BANDS, dtype=np.uint64), parts.shape[:2])
    for i in range(parts.shape[2]):
        mixed = (mixed + parts[:, :, i]) * np.uint64(_FACTOR)
        mixed = mixed ^ (mixed >> np.uint64(29))
    return mixed


def _hash(tokens: Iterable[str]) -> int:
    """Returns 64 bits, the same in every process."""
    text = "\n".join(tokens).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _jaccard(one: Sketch, other: Sketch) -> float:
    shared = len(np.intersect1d(one.runs, other.runs, assume_unique=True))
    return shared / (len(one.runs) + len(other.runs) - shared)
