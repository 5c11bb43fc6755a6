"""The rows of a dataset that are looked at.

The key is known to no script: what a script is told of randomness is a seed of its
own, so it cannot put good rows where the verifier will look.
"""

from collections.abc import Hashable, Sequence

from jaxtyping import Int
import numpy as np


def stratified(
    strata: Sequence[Hashable], k: int, key: Sequence[int]
) -> Int[np.ndarray, " drawn"]:
    """Draws rows without replacement, of each stratum its share.

    Systematic sampling over the strata in random order: every row is as likely as any
    other, so the mean over the drawn rows is unbiased whatever a recipe claims about
    its rows, and of each stratum the number drawn is its share of k, rounded up or
    down.

    Args:
      strata: Of each row, e.g. its source.
      k: How many to draw; all of them if there are no more.
      key: Determines the draw, together with the strata.

    Returns:
      Positions of the drawn rows, in an order that says nothing.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
    count = len(strata)
    shuffled = generator.permutation(count)
    if count <= k:
        return shuffled
    numbers = {stratum: i for i, stratum in enumerate(dict.fromkeys(strata))}
    ranks = generator.permutation(len(numbers))  # of the strata
    order = np.array([ranks[numbers[strata[row]]] for row in shuffled])
    by_stratum = shuffled[np.argsort(order, kind="stable")]
    places = np.floor((generator.random() + np.arange(k)) * count / k).astype(int)
    return by_stratum[np.minimum(places, count - 1)]
