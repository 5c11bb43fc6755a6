"""Tests for datachef_jax/rl/logprobs.py."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from datachef_jax.rl import logprobs
from tests import tiny


def _log_softmax(logits):
    """Does it in float64 numpy."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_agrees_with_a_full_softmax_over_every_row_on_its_own():
    graphdef, params = tiny.model(0)
    params = jax.tree.map(lambda x: 3.0 * x, params)  # less uniform predictions
    prompts, completions, time = [5, 7, 3, 8], [4, 2, 0, 1], 11
    tokens = jax.random.randint(jax.random.key(0), (4, time), 2, 258)
    steps = jnp.arange(time)[None, :]
    starts = jnp.array(prompts)[:, None]
    lengths = starts + jnp.array(completions)[:, None]
    mask = (steps >= starts) & (steps < lengths)

    got, entropy = jax.jit(
        functools.partial(
            logprobs.completion_logprobs,
            graphdef,
            max_new_tokens=6,  # longer than any completion: the last windows overhang
            temperature=0.7,
        )
    )(params, tokens, mask)

    model = nnx.merge(graphdef, params)
    embedding = np.asarray(model.embedding[...], np.float64)
    forward = jax.jit(lambda model, *rows: model(*rows))
    expected, expected_entropy = np.zeros((2, 4, time))
    for row, (start, count) in enumerate(zip(prompts, completions, strict=True)):
        if not count:
            continue
        alone = tokens[row : row + 1, : start + count]
        positions = jnp.arange(alone.shape[1])[None, :]
        hidden = forward(model, alone, positions, jnp.ones_like(alone))
        table = _log_softmax(np.asarray(hidden[0], np.float64) @ embedding.T / 0.7)
        for t in range(start, start + count):
            expected[row, t] = table[t - 1, tokens[row, t]]
            expected_entropy[row, t] = -(np.exp(table[t - 1]) * table[t - 1]).sum()
    np.testing.assert_allclose(got, expected, atol=2e-5)
    np.testing.assert_allclose(entropy, expected_entropy, atol=2e-5)
    assert expected.min() < -4.0 and np.ptp(expected[mask]) > 1.0


def test_gradients_reach_the_weights_only_through_the_completion():
    graphdef, params = tiny.model(0)
    tokens = jnp.full((1, 8), 7)
    mask = jnp.zeros((1, 8), bool)

    def total(params, mask):
        got, entropy = logprobs.completion_logprobs(
            graphdef,
            params,
            tokens,
            mask,
            max_new_tokens=3,
            temperature=1.0,
        )
        return got.sum() + entropy.sum()

    slope = jax.jit(jax.grad(total))
    empty = slope(params, mask)
    assert all(not leaf.any() for leaf in jax.tree.leaves(empty))
    used = slope(params, mask.at[0, 5].set(True))
    assert all(leaf.any() for leaf in jax.tree.leaves(used))
