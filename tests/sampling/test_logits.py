"""Tests for datachef_jax/sampling/logits.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.sampling import logits

_QWEN3 = 151_936  # its vocabulary


def _settings(rows, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    wide = lambda value, dtype: jnp.broadcast_to(jnp.asarray(value, dtype), rows)
    return logits.Settings(
        temperature=wide(temperature, jnp.float32),
        top_k=wide(top_k, jnp.int32),
        top_p=wide(top_p, jnp.float32),
        min_p=wide(min_p, jnp.float32),
    )


_jitted = jax.jit(logits.sample)


def _sample(scores, seeds, positions=0, allowed=None, **settings):
    scores = jnp.asarray(scores, jnp.float32)
    rows = len(scores)
    return _jitted(
        scores,
        None if allowed is None else jnp.asarray(allowed),
        _settings(rows, **settings),
        jnp.asarray(seeds, jnp.uint32),
        jnp.broadcast_to(jnp.asarray(positions, jnp.int32), rows),
    )


@jax.jit
def _plain(scores, seeds, position, temperature):
    """What `sample` was before there were masks and filters."""
    greedy = temperature == 0.0
    scaled = scores / jnp.where(greedy, 1.0, temperature)
    logprobs = jax.nn.log_softmax(scaled, axis=-1)
    noise = jax.vmap(
        lambda seed: jax.random.uniform(
            jax.random.fold_in(jax.random.key(seed), position)
        )
    )(seeds)
    drawn = logits.choose(jnp.exp(logprobs), noise)
    tokens = jnp.where(greedy, scores.argmax(-1), drawn)
    return tokens, jnp.take_along_axis(logprobs, tokens[:, None], axis=-1)[:, 0]


def _normal(*shape, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(size=shape, scale=scale).astype("f4")


def _same_bits(one, other):
    for got, wanted in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


def _softmax(scores):
    """In float64; -inf has no probability."""
    powers = np.exp(np.asarray(scores, np.float64) - np.max(scores))
    return powers / powers.sum()


def _kept(scores, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """Returns which tokens of one row the filters leave, token by token."""
    scaled = np.asarray(scores, np.float64) / temperature
    kept = np.isfinite(scaled)
    if top_k:
        kept &= np.array([(scaled > score).sum() < top_k for score in scaled])
    if top_p < 1.0:
        chances = _softmax(np.where(kept, scaled, -np.inf))
        above = np.array([chances[scaled > score].sum() for score in scaled])
        kept &= (above < top_p) | (scaled == scaled.max())
    if min_p:
        kept &= np.exp(scaled - scaled.max()) >= min_p
    return kept


@pytest.mark.parametrize("shape", [(16, 2048), (3, 61), (1, 256), (2, _QWEN3)])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_without_masks_and_filters_nothing_has_changed(shape, temperature):
    scores, seeds = _normal(*shape), np.arange(shape[0], dtype=np.uint32)
    for position in (0, 7):
        wanted = _plain(scores, seeds, np.int32(position), np.float32(temperature))
        drawn = _sample(scores, seeds, position, temperature=temperature)
        _same_bits((drawn.tokens, drawn.logprobs), wanted)
        if temperature != 0.7:
            _same_bits(drawn.raw_logprobs, drawn.logprobs)
        everything = np.ones(shape, bool)
        again = _sample(scores, seeds, position, everything, temperature=temperature)
        _same_bits(again, drawn)


def test_every_row_has_its_own_settings_and_position():
    scores = _normal(6, 500)
    own = dict(
        temperature=[1.0, 0.0, 0.5, 2.0, 1.0, 0.0],
        top_k=[0, 0, 5, 0, 3, 2],
        top_p=[1.0, 1.0, 1.0, 0.5, 0.9, 0.1],
        min_p=[0.0, 0.0, 0.0, 0.0, 0.2, 0.5],
    )
    seeds, positions = np.arange(6), np.array([0, 4, 4, 9, 0, 1])
    together = _sample(scores, seeds, positions, **own)
    for row in range(6):
        alone = _sample(
            np.tile(scores[row], (6, 1)),
            np.full(6, seeds[row]),
            positions[row],
            **{name: values[row] for name, values in own.items()},
        )
        _same_bits([leaf[0] for leaf in alone], [leaf[row] for leaf in together])


@pytest.mark.parametrize("beside", [{"top_k": 5}, {"top_p": 0.5}, {"min_p": 0.3}])
@pytest.mark.parametrize("vocab", [61, 2048])
def test_a_row_without_filters_does_not_notice_those_beside_it(beside, vocab):
    scores, seeds = _normal(4, vocab), np.arange(4)
    scores[1, ::3] = -np.inf
    off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    mixed = {name: [off[name]] * 3 + [value] for name, value in beside.items()}
    plain, crowd = _sample(scores, seeds), _sample(scores, seeds, **mixed)
    _same_bits([leaf[:3] for leaf in plain], [leaf[:3] for leaf in crowd])
    assert plain.logprobs[3] != crowd.logprobs[3]


def test_other_settings_compile_nothing():
    scores, seeds = _normal(5, 100), np.arange(5)
    _sample(scores, seeds)
    compiled = _jitted._cache_size()
    _sample(scores, seeds, 3, temperature=0.0, top_k=7, top_p=0.3, min_p=0.1)
    assert _jitted._cache_size() == compiled


@pytest.mark.parametrize(
    "filters",
    [
        {"top_k": 1},
        {"top_k": 7},
        {"top_k": 40},
        {"top_k": 1000},
        {"top_p": 0.5},
        {"top_p": 0.95},
        {"top_p": 1e-30},
        {"top_p": 0.0},
        {"min_p": 0.05},
        {"min_p": 1.0},
        {"top_k": 10, "top_p": 0.8},
        {"top_k": 30, "top_p": 0.9, "min_p": 0.1},
        {"top_k": 30, "top_p": 0.7, "min_p": 0.01, "temperature": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["normal", "ties", "impossible", "far"])
def test_filters_leave_what_counting_by_hand_leaves(filters, kind):
    scores = _normal(32, 40)
    if kind == "ties":
        scores = np.round(scores)
    elif kind == "impossible":
        scores[:, ::2] = -np.inf
    elif kind == "far":
        scores = scores * 20 - 1e4
    left = logits.restrict(jnp.asarray(scores), _settings(32, **filters))
    for row in range(32):
        expected = _kept(scores[row], **filters)
        np.testing.assert_array_equal(np.isfinite(left[row]), expected)
        np.testing.assert_array_equal(left[row][expected], scores[row][expected])


def test_ties_are_kept_and_a_threshold_between_zeros_is_one():
    scores = np.array([[0.0, -0.0, 0.0, -1.0, -2.0]], np.float32)
    for filters in ({"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0}):
        left = logits.restrict(jnp.asarray(scores), _settings(1, **filters))
        np.testing.assert_array_equal(np.isfinite(left[0]), [1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    "filters",
    [{"top_k": 2}, {"top_p": 0.7}, {"min_p": 0.3}, {"top_k": 3, "min_p": 0.1}],
    ids=str,
)
def test_filtered_frequencies_and_probabilities_add_up_to_one_again(filters):
    scores, n, temperature = np.array([2.0, 1.5, 0.0, -1.0, -30.0]), 20_000, 0.8
    kept = _kept(scores, temperature=temperature, **filters)
    exact = _softmax(np.where(kept, scores / temperature, -np.inf))
    drawn = _sample(
        np.tile(scores, (n, 1)), np.arange(n), temperature=temperature, **filters
    )
    tokens = np.array(drawn.tokens)
    counts = np.bincount(tokens, minlength=5)
    error = (counts - n * exact)[kept] ** 2 / (n * exact)[kept]
    assert 1 < kept.sum() < 5 and counts[~kept].sum() == 0
    assert error.sum() < 16.3  # at most 3 degrees of freedom, p = 0.001
    np.testing.assert_allclose(drawn.logprobs, np.log(exact[tokens]), atol=1e-5)
    raw = np.log(_softmax(scores)[tokens])
    np.testing.assert_allclose(drawn.raw_logprobs, raw, atol=1e-5)


def test_a_mask_counts_before_the_filters_and_in_the_probability():
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]] * 64)
    allowed = np.array([[False, False, True, True, True]] * 64)
    drawn = _sample(scores, np.arange(64), allowed=allowed, top_k=2)
    tokens = np.array(drawn.tokens)
    assert set(tokens) == {2, 3}
    exact = np.log(_softmax([-np.inf, -np.inf, 3.0, 2.0, -np.inf])[tokens])
    np.testing.assert_allclose(drawn.logprobs, exact, atol=1e-6)
    raw = np.log(_softmax(scores[0]))[tokens]
    np.testing.assert_allclose(drawn.raw_logprobs, raw, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 50.0])
def test_a_single_allowed_token_is_certain(temperature):
    scores, only = _normal(8, 300), np.arange(8) * 37
    allowed = np.arange(300) == only[:, None]
    drawn = _sample(
        scores, np.arange(8), allowed=allowed, temperature=temperature, top_p=0.5
    )
    np.testing.assert_array_equal(drawn.tokens, only)
    np.testing.assert_allclose(drawn.logprobs, 0.0, atol=1e-7)
    assert (drawn.raw_logprobs < -0.1).all()


def test_temperature_zero_takes_the_likeliest_and_reports_the_raw_probability():
    scores = np.array([[0.0, 3.0, 1.0], [5.0, -2.0, 4.0]])
    drawn = _sample(scores, [1, 2], temperature=0.0, top_k=1, top_p=0.1, min_p=1.0)
    np.testing.assert_array_equal(drawn.tokens, [1, 0])
    expected = [np.log(_softmax(row))[i] for row, i in zip(scores, [1, 0])]
    np.testing.assert_allclose(drawn.logprobs, expected, atol=1e-6)
    _same_bits(drawn.raw_logprobs, drawn.logprobs)
    allowed = np.array([[True, False, True], [False, True, True]])
    masked = _sample(scores, [1, 2], allowed=allowed, temperature=0.0)
    np.testing.assert_array_equal(masked.tokens, [2, 2])
    expected = [1.0 - np.logaddexp(0.0, 1.0), 4.0 - np.logaddexp(-2.0, 4.0)]
    np.testing.assert_allclose(masked.logprobs, expected, atol=1e-6)


def test_the_filters_agree_on_the_vocabulary_of_qwen3():
    scores = _normal(3, _QWEN3, scale=2.0)
    own = dict(top_k=[50, 0, 2000], top_p=[1.0, 0.9, 0.5], min_p=[0.0, 0.0, 0.3])
    left = np.isfinite(logits.restrict(jnp.asarray(scores), _settings(3, **own)))
    assert left[0].sum() == 50 and scores[0][left[0]].min() > scores[0][~left[0]].max()
    for row in (1, 2):  # sums of float32 may err by a token or two at the border
        ordered = np.sort(scores[row].astype(np.float64))[::-1]
        ordered = ordered[: own["top_k"][row] or None]
        above = np.cumsum(_softmax(ordered)) - _softmax(ordered)
        close = np.exp(ordered - ordered[0]) >= own["min_p"][row]
        expected = ((above < own["top_p"][row]) & close).sum()
        assert abs(left[row].sum() - expected) <= 1e-4 * expected
        assert scores[row][left[row]].min() > scores[row][~left[row]].max()


def test_uniform_depends_on_seed_and_position_alone():
    draw = lambda seeds, *positions: np.array(
        logits.uniform(jnp.asarray(seeds, jnp.uint32), jnp.asarray(positions))
    )
    both = draw([5, 2**32 - 1], 3, 8)
    assert draw([5], 3) == both[0] and draw([2**32 - 1, 0, 1], 8, 3, 3)[0] == both[1]
    assert len({*both, *draw([5, 2**32 - 1], 4, 9), *draw([6], 3)}) == 5


def test_uniform_is_uniform_over_seeds_and_over_positions():
    many = jnp.arange(4096)
    seeds = logits.uniform(many.astype(jnp.uint32), jnp.zeros_like(many))
    positions = logits.uniform(jnp.zeros(4096, jnp.uint32), many)
    for draws in (seeds, positions):  # Kolmogorov-Smirnov, p = 0.001: 1.95 / sqrt(n)
        assert np.abs(np.sort(draws) - np.arange(4096) / 4096).max() < 1.95 / 64


def test_choose_splits_the_levels_exactly_by_probability():
    probabilities = np.array([0.125, 0.0, 0.5, 0.25, 0.125], np.float32)
    levels = np.arange(64) / 64  # exact in float32, like these probabilities
    rows = np.tile(probabilities, (64, 1))
    tokens = logits.choose(jnp.asarray(rows), jnp.asarray(levels, jnp.float32))
    np.testing.assert_array_equal(np.bincount(tokens, minlength=5), [8, 0, 32, 16, 8])


def test_choose_never_takes_an_impossible_token():
    probabilities = np.zeros((2, 4096), np.float32)
    probabilities[:, 1000:3000] = 1.0 / 2000  # the running sum rounds all the time
    levels = np.array([0.0, 1.0 - 2.0**-24], np.float32)
    first, last = logits.choose(jnp.asarray(probabilities), jnp.asarray(levels))
    assert first == 1000 and 2990 <= last < 3000


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_softmax(temperature):
    scores = np.array([2.0, 1.0, 0.0, -1.0, -30.0])
    exact = _softmax(scores / temperature)
    n = 20_000
    drawn = _sample(np.tile(scores, (n, 1)), np.arange(n), temperature=temperature)
    counts = np.bincount(drawn.tokens, minlength=5)
    chi_square = ((counts - n * exact)[:4] ** 2 / (n * exact)[:4]).sum()
    assert counts[4] == 0 and chi_square < 16.3  # 3 degrees of freedom, p = 0.001
    logprobs = np.log(exact)[np.array(drawn.tokens)]
    np.testing.assert_allclose(drawn.logprobs, logprobs, atol=1e-5)
