"""Tests for datachef_jax/verifier/baselines/vendi.py."""

import math

import hypothesis
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

from datachef_jax.recipes import dataset
from datachef_jax.verifier.baselines import vendi
from tests.verifier.baselines.conftest import PAIRS


@pytest.mark.parametrize("n", [1, 2, 7])
def test_orthogonal_rows_are_all_counted_and_equal_ones_once(n):
    scales = np.linspace(0.5, 3.0, n)[:, None]  # lengths do not matter
    assert vendi.vendi_score(np.eye(n) * scales) == pytest.approx(n)
    assert vendi.vendi_score(np.ones((n, 3)) * scales) == pytest.approx(1.0)


def test_two_rows_by_hand():
    # Their cosine is 0.6, so the eigenvalues are (1 + 0.6) / 2 and (1 - 0.6) / 2.
    vectors = np.array([[2.0, 0.0], [0.3, 0.4]])
    expected = math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert vendi.vendi_score(vectors) == pytest.approx(expected)


_ENTRIES = strategies.sampled_from([-2.0, -1.0, 0.5, 1.0, 3.0])


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    vectors=arrays.arrays(
        np.float64,
        strategies.tuples(*[strategies.integers(1, 6)] * 2),
        elements=_ENTRIES,
    )
)
def test_both_forms_equal_the_definition(vectors):
    rows = len(vectors)
    kernel = [[a @ b / math.sqrt((a @ a) * (b @ b)) for b in vectors] for a in vectors]
    eigenvalues = np.linalg.eigvals(np.array(kernel) / rows).real
    entropy = -sum(x * math.log(x) for x in eigenvalues if x > 1e-12)
    score = vendi.vendi_score(vectors)
    assert score == pytest.approx(math.exp(entropy), rel=1e-6)
    assert 1.0 - 1e-9 <= score <= rows + 1e-9
    copies = vendi.vendi_score(np.repeat(vectors, 4, axis=0))
    assert copies == pytest.approx(score, rel=1e-6)


def test_rows_are_drawn_by_the_seed(make_embedder):
    made = make_embedder(pooling="mean")
    measure = vendi.Vendi(embedder=made, max_rows=3, seed=5)
    drawn = [PAIRS[i] for i in dataset.draw(len(PAIRS), 3, 5)]
    rated = measure.rate(PAIRS)
    assert rated.rows == 3 and rated.cut == 0
    assert rated.score == vendi.vendi_score(made.embed(drawn).vectors)
    assert measure.measure(PAIRS) == rated.score
    other = vendi.Vendi(embedder=made, max_rows=3, seed=6)
    assert other.measure(PAIRS) != rated.score


def test_datasets_are_rated_by_what_is_different_in_them(make_embedder):
    measure = vendi.Vendi(
        embedder=make_embedder(pooling="mean", max_tokens=50), max_rows=100, seed=0
    )
    assert measure.measure(PAIRS[:1] * 9) == pytest.approx(1.0)
    all_rows = measure.rate(PAIRS)
    assert 1.0 < all_rows.score < 6.0 and all_rows.rows == 6 and all_rows.cut > 0
    assert measure.measure(PAIRS * 2) == pytest.approx(all_rows.score)
    assert math.isnan(measure.measure([])) and measure.rate([]).rows == 0


def test_a_cap_that_leaves_nothing_is_refused(make_embedder):
    with pytest.raises(ValueError, match="max_rows must be at least 1, got 0"):
        vendi.Vendi(embedder=make_embedder(), max_rows=0, seed=0)
