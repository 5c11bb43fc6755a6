"""Tests for datachef_jax/rl/losses.py."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.rl import losses

_clipped = functools.partial(losses.clipped, clip_low=0.2, clip_high=0.3)
_cispo = functools.partial(losses.cispo, clip_low=1.0, clip_high=0.3)
_recipe_ratio = functools.partial(losses.recipe_ratio, max_log_ratio=2.0)
_token = functools.partial(
    losses.objective, ratio=losses.token_ratio, surrogate=_clipped
)
_sequence = functools.partial(
    losses.objective, ratio=losses.sequence_ratio, surrogate=_clipped
)
_recipe = functools.partial(losses.objective, ratio=_recipe_ratio, surrogate=_clipped)
_detached = functools.partial(
    losses.objective, ratio=losses.token_ratio, surrogate=_cispo
)
_ALL = pytest.mark.parametrize(
    "objective",
    [_token, _sequence, _recipe, _detached],
    ids=["token", "sequence", "recipe", "cispo"],
)


def _slope(objective, *, log_ratio, advantage, tokens=1):
    """Returns d objective / d logprob of each token of the only completion."""
    old = jnp.full((1, tokens), -1.0)
    mask = jnp.ones((1, tokens), bool)

    def total(logprobs):
        return objective(logprobs, old, jnp.array([advantage]), mask)[0].sum()

    return jax.grad(total)(old + log_ratio)[0]


def test_token_ratios_on_hand_computed_numbers():
    ratios = jnp.array([[1.0, 2.0, 0.5], [1.1, 0.5, 9.0]])
    old = jnp.full((2, 3), -3.0)
    mask = jnp.array([[True, True, True], [True, True, False]])
    gain, diagnostics = jax.jit(_token)(
        old + jnp.log(ratios), old, jnp.array([2.0, -1.0]), mask
    )
    expected = [[2.0, 2.6, 1.0], [-1.1, -0.8, 0.0]]  # min; clipped at 1.3 and 0.8
    np.testing.assert_allclose(gain, expected, rtol=1e-6)
    np.testing.assert_allclose(diagnostics.ratio, 1.0 + 2.0 + 0.5 + 1.1 + 0.5, 1e-6)
    assert diagnostics.clipped == 3 and diagnostics.count == 5
    kl = sum(r - 1 - math.log(r) for r in (1.0, 2.0, 0.5, 1.1, 0.5))
    np.testing.assert_allclose(diagnostics.approx_kl, kl, rtol=1e-5)


@pytest.mark.parametrize(
    "objective, first, second",
    [
        # Ratios e^0.2 and e^-0.4; the second is below 0.8 and its row is a bad one.
        (_recipe, 2 * math.exp(0.2), -0.8),
        # Ratios e^0.1 and e^(-0.4/3), which is above 0.8.
        (_sequence, 2 * math.exp(0.1), -math.exp(-0.4 / 3)),
    ],
    ids=["recipe", "sequence"],
)
def test_ratios_of_completions_on_hand_computed_numbers(objective, first, second):
    log_ratios = jnp.array([[0.1, 0.1, 5.0], [-0.5, 0.2, -0.1], [3.0, 3.0, 3.0]])
    mask = jnp.array([[True, True, False], [True, True, True], [False] * 3])
    old = jnp.full((3, 3), -3.0)
    gain, diagnostics = objective(
        old + log_ratios, old, jnp.array([2.0, -1.0, 4.0]), mask
    )
    # In equal parts at the tokens.
    expected = [[first / 2, first / 2, 0.0], [second / 3] * 3, [0.0] * 3]
    np.testing.assert_allclose(gain, expected, rtol=1e-6)
    assert diagnostics.count == 2
    assert diagnostics.clipped == (objective is _recipe)


@pytest.mark.parametrize(
    "log_ratio,advantage,flows",
    [
        (0.1, 1.5, True),  # inside the bounds everything flows
        (-0.1, -1.5, True),
        (0.5, 1.5, False),  # good and already more probable: enough
        (0.5, -1.5, True),  # bad and more probable: push down
        (-0.5, 1.5, True),  # good and less probable: push up
        (-0.5, -1.5, False),  # bad and already less probable: enough
    ],
)
def test_the_gradient_in_each_clip_region(log_ratio, advantage, flows):
    got = _slope(_token, log_ratio=log_ratio, advantage=advantage)
    expected = advantage * math.exp(log_ratio) if flows else 0.0
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    # Two tokens of it: the recipe's ratio is the square, the sequence's the same.
    pair = functools.partial(_slope, advantage=advantage, tokens=2)
    halved = pair(_recipe, log_ratio=log_ratio / 2)
    np.testing.assert_allclose(halved, [expected, expected], rtol=1e-5)
    mean = pair(_sequence, log_ratio=log_ratio)
    np.testing.assert_allclose(mean, [expected / 2, expected / 2], rtol=1e-5)


@pytest.mark.parametrize("log_ratio", [-3.0, -0.5, 0.1, 0.5, 4.0])
@pytest.mark.parametrize("advantage", [1.5, -1.5])
def test_cispo_clips_the_weight_and_never_the_gradient(log_ratio, advantage):
    got = _slope(_detached, log_ratio=log_ratio, advantage=advantage)
    expected = advantage * min(math.exp(log_ratio), 1.3)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_beyond_max_log_ratio_the_value_stops_and_the_gradient_does_not():
    old, mask = jnp.zeros((1, 1)), jnp.ones((1, 1), bool)
    gain, _ = _recipe(jnp.full((1, 1), 500.0), old, jnp.array([-1.0]), mask)
    np.testing.assert_allclose(gain, -math.exp(2.0), rtol=1e-6)
    got = _slope(_recipe, log_ratio=500.0, advantage=-1.0)
    np.testing.assert_allclose(got, -math.exp(2.0), rtol=1e-6)
    assert _slope(_recipe, log_ratio=500.0, advantage=1.0) == 0.0


@_ALL
def test_at_ratio_one_it_is_the_policy_gradient(objective):
    logits = jax.random.normal(jax.random.key(0), (4, 3, 7))
    tokens = jax.random.randint(jax.random.key(1), (4, 3), 0, 7)
    advantages = jnp.array([1.0, -2.0, 0.5, 0.0])
    lengths = jnp.array([3, 2, 1, 3])
    mask = jnp.arange(3)[None, :] < lengths[:, None]

    @jax.jit
    def logprobs(logits):
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], -1)
        return picked[..., 0]

    old = logprobs(logits)
    got = jax.grad(lambda x: objective(logprobs(x), old, advantages, mask)[0].sum())(
        logits
    )
    # REINFORCE by hand: A (onehot - softmax) at the completion tokens.
    score = jax.nn.one_hot(tokens, 7) - jax.nn.softmax(logits)
    expected = advantages[:, None, None] * mask[..., None] * score
    if objective is _sequence:  # whose log-ratio is a mean
        expected = expected / lengths[:, None, None]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def _masked(objective, logprobs, old, advantages, mask):
    gain, diagnostics = objective(logprobs, old, advantages, mask)
    weights = losses.engine_weights(logprobs, old, mask, level="token", cap=2.0)
    kl = losses.kl_to_reference(logprobs, old, mask, estimator="k3")
    penalty = losses.kl_penalty(logprobs, old, mask)
    return (gain * weights + kl).sum() + penalty.sum(), diagnostics


@_ALL
def test_masked_tokens_change_nothing_even_if_they_are_nan(objective):
    keys = jax.random.split(jax.random.key(2), 2)
    logprobs, old = (jax.random.normal(key, (2, 4)) for key in keys)
    mask = jnp.array([[True, True, False, False], [True, False, False, False]])

    def run(hole):
        @jax.jit
        def total(x):
            filled = jnp.where(mask, x, hole)
            return _masked(objective, filled, old, jnp.array([1.0, -1.0]), mask)

        return jax.value_and_grad(total, has_aux=True)(logprobs)

    for got, expected in zip(
        jax.tree.leaves(run(jnp.nan)), jax.tree.leaves(run(7.0)), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@_ALL
def test_halves_of_a_batch_add_up(objective):
    keys = jax.random.split(jax.random.key(3), 3)
    logprobs, old = (jax.random.normal(key, (6, 5)) for key in keys[:2])
    mask = jax.random.bernoulli(keys[2], 0.6, (6, 5))
    rows = (logprobs, old, jnp.linspace(-1.0, 1.0, 6), mask)
    whole = _masked(objective, *rows)
    first, second = (
        _masked(objective, *(x[part] for x in rows))
        for part in (slice(2), slice(2, None))
    )
    added = jax.tree.map(jnp.add, first, second)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), whole, added)


@pytest.mark.parametrize(
    "per, first, second",
    [
        ("budget", 1 / 30, 1 / 30),
        ("token", 1 / 5, 1 / 5),
        ("completion", 1 / 12, 1 / 3),
        ("sequence", 1 / 3, 1 / 3),
    ],
)
def test_what_a_token_counts(per, first, second):
    mask = jnp.arange(5)[None, :] < jnp.array([[4], [1], [0]])
    got = losses.token_weights(mask, per=per, max_new_tokens=10)
    expected = mask * jnp.array([[first], [second], [9.0]])
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_what_is_unknown_is_refused():
    mask = jnp.ones((1, 1), bool)
    with pytest.raises(ValueError, match="per 'row'"):
        losses.token_weights(mask, per="row", max_new_tokens=1)
    numbers = jnp.zeros((1, 1))
    with pytest.raises(ValueError, match="per 'row'"):
        losses.engine_weights(numbers, numbers, mask, level="row", cap=1.0)
    with pytest.raises(ValueError, match="known as 'k1'"):
        losses.kl_to_reference(numbers, numbers, mask, estimator="k1")


def test_engine_weights_are_ratios_up_to_the_cap_and_learn_nothing():
    behavior = jnp.full((2, 3), -2.0)
    old = behavior + jnp.log(jnp.array([[2.0, 4.0, 0.5], [0.5, 0.5, 9.0]]))
    mask = jnp.array([[True, True, True], [True, True, False]])
    weights = functools.partial(losses.engine_weights, cap=3.0)
    got = weights(old, behavior, mask, level="token")
    np.testing.assert_allclose(got, [[2, 3, 0.5], [0.5, 0.5, 1]], rtol=1e-6)
    got = weights(old, behavior, mask, level="sequence")
    np.testing.assert_allclose(got, [[3, 3, 3], [0.25, 0.25, 1]], rtol=1e-6)
    total = lambda x: weights(x, behavior, mask, level="token").sum()
    assert not jax.grad(total)(old).any()
    assert jnp.isfinite(weights(old + 1e4, behavior, mask, level="sequence")).all()


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_has_the_exact_gradient_in_expectation_and_k3_the_value(estimator):
    logits = jax.random.normal(jax.random.key(4), (6,))
    reference = jax.nn.log_softmax(jax.random.normal(jax.random.key(5), (6,)))

    @jax.jit
    def exact(logits):
        logprobs = jax.nn.log_softmax(logits)
        return (jnp.exp(logprobs) * (logprobs - reference)).sum()

    @jax.jit
    def sampled(logits, action):
        return losses.kl_to_reference(
            jax.nn.log_softmax(logits)[None, action, None],
            reference[None, action, None],
            jnp.ones((1, 1), bool),
            estimator=estimator,
        ).sum()

    probabilities = jax.nn.softmax(logits)
    values, gradients = zip(
        *(jax.value_and_grad(sampled)(logits, action) for action in range(6)),
        strict=True,
    )
    value = sum(p * x for p, x in zip(probabilities, values, strict=True))
    gradient = sum(p * x for p, x in zip(probabilities, gradients, strict=True))
    np.testing.assert_allclose(gradient, jax.grad(exact)(logits), atol=1e-6)
    assert exact(logits) > 0.1  # so that agreeing means something
    if estimator == "k3":
        np.testing.assert_allclose(value, exact(logits), rtol=1e-5)
        logprobs = jax.nn.log_softmax(logits)[:, None]
        k1 = losses.kl_penalty(logprobs, reference[:, None], jnp.ones((6, 1)) > 0)
        np.testing.assert_allclose(probabilities @ k1, exact(logits), rtol=1e-5)
