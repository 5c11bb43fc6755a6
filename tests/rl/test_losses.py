"""Tests for datachef_jax/rl/losses.py."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.rl import losses

_clipped = jax.jit(
    functools.partial(
        losses.clipped_surrogate, clip_low=0.2, clip_high=0.3, token_budget=10
    )
)
_recipe = jax.jit(
    functools.partial(
        losses.recipe_surrogate,
        clip_low=0.2,
        clip_high=0.3,
        max_log_ratio=2.0,
        completions=5,
    )
)


def _slope(surrogate, *, log_ratio, advantage):
    """Returns d loss / d logprob of the only token of the only completion."""
    behavior = jnp.full((1, 1), -1.0)
    mask = jnp.ones((1, 1), bool)

    def loss(logprobs):
        return surrogate(logprobs, behavior, jnp.array([advantage]), mask)[0]

    return jax.grad(loss)(behavior + log_ratio)[0, 0]


def test_token_loss_on_hand_computed_numbers():
    ratios = jnp.array([[1.0, 2.0, 0.5], [1.1, 0.5, 9.0]])
    behavior = jnp.full((2, 3), -3.0)
    mask = jnp.array([[True, True, True], [True, True, False]])
    loss, diagnostics = _clipped(
        behavior + jnp.log(ratios), behavior, jnp.array([2.0, -1.0]), mask
    )
    # Row 0: min picks 1, 1.3 and 0.5; row 1: 1.1 and (clipped) 0.8.
    expected = -(2.0 * (1.0 + 1.3 + 0.5) - (1.1 + 0.8)) / 10
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(diagnostics.ratio, 1.0 + 2.0 + 0.5 + 1.1 + 0.5, 1e-6)
    assert diagnostics.clipped == 3 and diagnostics.count == 5
    kl = sum(r - 1 - math.log(r) for r in (1.0, 2.0, 0.5, 1.1, 0.5))
    np.testing.assert_allclose(diagnostics.approx_kl, kl, rtol=1e-5)


def test_recipe_loss_on_hand_computed_numbers():
    log_ratios = jnp.array([[0.1, 0.1, 5.0], [-0.5, 0.2, -0.1], [3.0, 3.0, 3.0]])
    mask = jnp.array([[True, True, False], [True, True, True], [False] * 3])
    behavior = jnp.full((3, 3), -3.0)
    loss, diagnostics = _recipe(
        behavior + log_ratios, behavior, jnp.array([2.0, -1.0, 4.0]), mask
    )
    # Ratios e^0.2 and e^-0.4; the second is below 0.8 and its row is a bad one.
    np.testing.assert_allclose(loss, -(2 * math.exp(0.2) - 0.8) / 5, rtol=1e-6)
    assert diagnostics.clipped == 1 and diagnostics.count == 2


@pytest.mark.parametrize(
    "surrogate,divisor", [(_clipped, 10), (_recipe, 5)], ids=["token", "recipe"]
)
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
def test_the_gradient_in_each_clip_region(
    surrogate, divisor, log_ratio, advantage, flows
):
    got = _slope(surrogate, log_ratio=log_ratio, advantage=advantage)
    expected = -advantage * math.exp(log_ratio) / divisor if flows else 0.0
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_beyond_max_log_ratio_the_value_stops_and_the_gradient_does_not():
    behavior, mask = jnp.zeros((1, 1)), jnp.ones((1, 1), bool)
    loss, _ = _recipe(jnp.full((1, 1), 500.0), behavior, jnp.array([-1.0]), mask)
    np.testing.assert_allclose(loss, math.exp(2.0) / 5, rtol=1e-6)
    got = _slope(_recipe, log_ratio=500.0, advantage=-1.0)
    np.testing.assert_allclose(got, math.exp(2.0) / 5, rtol=1e-6)
    assert _slope(_recipe, log_ratio=500.0, advantage=1.0) == 0.0


@pytest.mark.parametrize(
    "surrogate,divisor", [(_clipped, 10), (_recipe, 5)], ids=["token", "recipe"]
)
def test_at_ratio_one_it_is_the_policy_gradient(surrogate, divisor):
    logits = jax.random.normal(jax.random.key(0), (4, 3, 7))
    tokens = jax.random.randint(jax.random.key(1), (4, 3), 0, 7)
    advantages = jnp.array([1.0, -2.0, 0.5, 0.0])
    mask = jnp.arange(3)[None, :] < jnp.array([3, 2, 1, 3])[:, None]

    @jax.jit
    def logprobs(logits):
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], -1)
        return picked[..., 0]

    behavior = logprobs(logits)
    got = jax.grad(lambda x: surrogate(logprobs(x), behavior, advantages, mask)[0])(
        logits
    )
    # REINFORCE by hand: A (onehot - softmax) at the completion tokens.
    score = jax.nn.one_hot(tokens, 7) - jax.nn.softmax(logits)
    expected = -advantages[:, None, None] * mask[..., None] * score / divisor
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("surrogate", [_clipped, _recipe], ids=["token", "recipe"])
def test_masked_tokens_change_nothing_even_if_they_are_nan(surrogate):
    keys = jax.random.split(jax.random.key(2), 2)
    logprobs, behavior = (jax.random.normal(key, (2, 4)) for key in keys)
    advantages = jnp.array([1.0, -1.0])
    mask = jnp.array([[True, True, False, False], [True, False, False, False]])

    def run(hole):
        @jax.jit
        def loss(x):
            filled = jnp.where(mask, x, hole)
            value, diagnostics = surrogate(filled, behavior, advantages, mask)
            kl = losses.kl_to_reference(filled, behavior, mask)
            return value + kl, diagnostics

        return jax.value_and_grad(loss, has_aux=True)(logprobs)

    for got, expected in zip(
        jax.tree.leaves(run(jnp.nan)), jax.tree.leaves(run(7.0)), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("surrogate", [_clipped, _recipe], ids=["token", "recipe"])
def test_halves_of_a_batch_add_up(surrogate):
    keys = jax.random.split(jax.random.key(3), 3)
    logprobs, behavior = (jax.random.normal(key, (6, 5)) for key in keys[:2])
    mask = jax.random.bernoulli(keys[2], 0.6, (6, 5))
    rows = (logprobs, behavior, jnp.linspace(-1.0, 1.0, 6), mask)
    whole = surrogate(*rows)
    first, second = surrogate(*(x[:2] for x in rows)), surrogate(*(x[2:] for x in rows))
    added = jax.tree.map(jnp.add, first, second)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), whole, added)


def test_kl_has_the_exact_value_and_gradient_in_expectation():
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
        )

    probabilities = jax.nn.softmax(logits)
    values, gradients = zip(
        *(jax.value_and_grad(sampled)(logits, action) for action in range(6)),
        strict=True,
    )
    value = sum(p * x for p, x in zip(probabilities, values, strict=True))
    gradient = sum(p * x for p, x in zip(probabilities, gradients, strict=True))
    np.testing.assert_allclose(value, exact(logits), rtol=1e-5)
    np.testing.assert_allclose(gradient, jax.grad(exact)(logits), atol=1e-6)
    assert exact(logits) > 0.1  # so that agreeing means something
