"""Tests for datachef_jax/verifier/draw.py."""

import collections

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from datachef_jax.verifier import draw


def _draw(strata, k, key):
    return draw.stratified([str(i) for i in range(len(strata))], strata, k, key)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1),
    st.integers(1, 60),
    st.integers(0, 2**32 - 1),
)
def test_each_stratum_gets_its_share(rows, k, seed):
    questions, strata = zip(*rows, strict=True)
    drawn = draw.stratified(questions, strata, k, (seed, 0))
    assert len(drawn) == len(set(drawn.tolist())) == min(k, len(strata))
    assert all(0 <= row < len(strata) for row in drawn)
    sizes = collections.Counter(strata)
    got = collections.Counter(strata[row] for row in drawn)
    for stratum, size in sizes.items():
        share = min(k, len(strata)) * size / len(strata)
        assert abs(got[stratum] - share) < 1.0 + 1e-9


def test_shares_are_exact_where_they_are_whole():
    strata = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    for seed in range(20):
        got = collections.Counter(strata[row] for row in _draw(strata, 10, (seed,)))
        assert got == {"a": 6, "b": 3, "c": 1}


def test_every_row_is_as_likely_as_any_other():
    strata = ["a"] * 7 + ["b"] * 2 + ["c"]
    counts, pairs = np.zeros(10), np.zeros((10, 10))
    # Three rows of one name, as in a dataset that repeats a row.
    names = ["0", "1", "1", "1", *map(str, range(4, 10))]
    for seed in range(4000):
        drawn = draw.stratified(names, strata, 3, (seed,))
        counts[drawn] += 1
        pairs[np.ix_(drawn, drawn)] += 1
    # 4,000 draws of probability 0.3: a standard deviation of 29.
    np.testing.assert_allclose(counts, 1200, atol=120)
    # And any two of a stratum as likely as any other two of it: some 440 times.
    together = pairs[:7, :7][np.triu_indices(7, 1)]
    assert together.max() - together.min() < 130


def test_the_key_determines_the_draw():
    strata = ["a"] * 50 + ["b"] * 50
    once = _draw(strata, 10, (3, 0)).tolist()
    assert once == _draw(strata, 10, (3, 0)).tolist()
    assert once != _draw(strata, 10, (4, 0)).tolist()


def test_datasets_of_one_key_are_looked_at_in_the_same_rows():
    whole = [f"question {i}" for i in range(200)]
    part = [row for i, row in enumerate(whole) if i % 4][::-1]
    for seed in range(20):
        drawn, fewer = (
            {rows[i] for i in draw.stratified(rows, [""] * len(rows), 30, (seed,))}
            for rows in (whole, part)
        )
        # What has been drawn of the larger set is drawn of the smaller one, too.
        assert drawn & set(part) <= fewer
        other = draw.stratified(part, [""] * len(part), 30, (seed + 1000,))
        assert len(drawn & {part[i] for i in other}) < 15


def test_a_row_that_no_encoding_takes_is_drawn():
    assert draw.stratified(["\ud800"], [""], 3, (0,)).tolist() == [0]
