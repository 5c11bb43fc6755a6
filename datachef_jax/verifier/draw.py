"""The rows of a dataset that are looked at.

The key is known to no script: what a script is told of randomness is a seed of its
own, so it cannot put good rows where the verifier will look. Datasets of one key are
drawn together: what they have in common is looked at in all of them or in none, which
takes luck out of their comparison and leaves fewer different rows to be judged.
"""

import collections
from collections.abc import Sequence
import hashlib

from jaxtyping import Int
import numpy as np


def stratified(
    rows: Sequence[str], strata: Sequence[str], k: int, key: Sequence[int]
) -> Int[np.ndarray, " drawn"]:
    """Draws rows without replacement, of each stratum its share.

    How many of each stratum: systematic sampling over the strata in random order, so it
    is its share of k, rounded up or down. Which ones: those whose keyed hashes are the
    smallest (coordinated, or bottom-k sampling: Cohen and Kaplan 2007,
    doi:10.1145/1281100.1281133). Every row is as likely as any other, so the mean over
    the drawn rows is unbiased whatever a recipe claims about its rows.

    Args:
      rows: What each row is known by, e.g. its question; rows of one name are told
        apart by which comes first.
      strata: Of each row, e.g. its source.
      k: How many to draw; all of them if there are no more.
      key: Determines the draw, together with the rows.

    Returns:
      Positions of the drawn rows, in an order that says nothing.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
    secret, start = generator.bytes(32), generator.random()
    earlier: collections.Counter[str] = collections.Counter()
    ranks = []
    for row in rows:
        ranks.append(_hash(f"{earlier[row]} {row}", secret))
        earlier[row] += 1
    first = {stratum: _hash(stratum, secret) for stratum in set(strata)}
    order = sorted(range(len(rows)), key=lambda i: (first[strata[i]], ranks[i]))
    if len(rows) <= k:
        return np.array(order, int)
    places = np.floor((start + np.arange(k)) * len(rows) / k).astype(int)
    hit = [strata[order[place]] for place in np.minimum(places, len(rows) - 1)]
    wanted = collections.Counter(hit)
    drawn = []
    for i in order:
        if wanted[strata[i]] > 0:
            wanted[strata[i]] -= 1
            drawn.append(i)
    return np.array(drawn)


def _hash(text: str, secret: bytes) -> bytes:
    content = text.encode(errors="surrogatepass")
    return hashlib.blake2b(content, digest_size=8, key=secret).digest()
