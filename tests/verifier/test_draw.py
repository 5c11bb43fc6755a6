"""Tests for datachef_jax/verifier/draw.py."""

import collections

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from datachef_jax.verifier import draw


@given(
    st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=60),
    st.integers(1, 60),
    st.integers(0, 2**32 - 1),
)
def test_each_stratum_gets_its_share(strata, k, seed):
    drawn = draw.stratified(strata, k, (seed, 0))
    assert len(drawn) == len(set(drawn.tolist())) == min(k, len(strata))
    assert all(0 <= row < len(strata) for row in drawn)
    sizes = collections.Counter(strata)
    got = collections.Counter(strata[row] for row in drawn)
    for stratum, size in sizes.items():
        share = min(k, len(strata)) * size / len(strata)
        assert abs(got[stratum] - share) < 1.0 + 1e-9


def test_every_row_is_as_likely_as_any_other():
    strata = ["a"] * 7 + ["b"] * 2 + ["c"]
    counts = np.zeros(10)
    for seed in range(4000):
        counts[draw.stratified(strata, 3, (seed,))] += 1
    # 4,000 draws of probability 0.3: a standard deviation of 29.
    np.testing.assert_allclose(counts, 1200, atol=120)


def test_the_key_determines_the_draw():
    strata = ["a"] * 50 + ["b"] * 50
    once = draw.stratified(strata, 10, (3, 0)).tolist()
    assert once == draw.stratified(strata, 10, (3, 0)).tolist()
    assert once != draw.stratified(strata, 10, (4, 0)).tolist()
