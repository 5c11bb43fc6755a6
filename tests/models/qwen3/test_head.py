"""Tests for datachef_jax/models/qwen3/head.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import head as heads


def _dense(hidden, head, chosen, temperature):
    scores = hidden @ head.T / temperature
    logprobs = jax.nn.log_softmax(scores, axis=-1)
    entropy = -(jnp.exp(logprobs) * logprobs).sum(-1)
    return logprobs[jnp.arange(len(chosen)), chosen], entropy


def _inputs(vocab, tokens=6, embed=4, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 2)
    hidden = 3.0 * jax.random.normal(keys[0], (tokens, embed), dtype)
    # The first and the last id are chosen too: the corners of the chunks.
    chosen = jnp.linspace(0, vocab - 1, tokens).astype(jnp.int32)
    return hidden, jax.random.normal(keys[1], (vocab, embed), jnp.float32), chosen


@pytest.fixture(params=[True, False], ids=["kept", "computed twice"])
def kept(request, monkeypatch):
    """Runs a test with scores that are kept and with scores that are not."""
    if not request.param:
        monkeypatch.setattr(heads, "_MOST_KEPT", 0)
    return request.param


@pytest.mark.parametrize("vocab, chunks", [(300, 1), (3 * 2**15, 3), (70_000, 4)])
def test_values_and_gradients_are_those_of_a_whole_softmax(vocab, chunks, kept):
    assert heads._count(vocab) == chunks
    hidden, head, chosen = _inputs(vocab)
    weights = jnp.linspace(-1.0, 2.0, len(chosen))

    def total(function, hidden, head):
        logprobs, entropy = function(hidden, head, chosen, temperature=0.7)
        return logprobs @ weights, (logprobs, entropy)

    slope = functools.partial(jax.grad, argnums=(1, 2), has_aux=True)
    got, values = jax.jit(slope(total), static_argnums=0)(
        heads.token_logprobs, hidden, head
    )
    with jax.enable_x64(True):
        wide = (np.asarray(x, np.float64) for x in (hidden, head))
        expected, expected_values = slope(total)(_dense, *map(jnp.asarray, wide))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5),
        (got, values),
        (expected, expected_values),
    )


def test_entropies_have_no_gradient():
    hidden, head, chosen = _inputs(70_000)
    entropy = lambda x: heads.token_logprobs(x, head, chosen, temperature=1.0)[1].sum()
    assert not jax.grad(entropy)(hidden).any()


def test_scores_far_out_neither_overflow_nor_vanish():
    hidden, head, chosen = _inputs(70_000)
    logprobs, entropy = heads.token_logprobs(
        1e4 * hidden, head, chosen, temperature=1.0
    )
    assert jnp.isfinite(logprobs).all() and (logprobs < -1e3).all()
    np.testing.assert_allclose(entropy, 0.0, atol=0.1)


def test_memory_does_not_grow_with_the_vocabulary(monkeypatch):
    def extra(vocab, tokens=512):
        hidden, head, chosen = (
            jax.ShapeDtypeStruct(shape, dtype)
            for shape, dtype in [
                ((tokens, 8), jnp.float32),
                ((vocab, 8), jnp.float32),
                ((tokens,), jnp.int32),
            ]
        )

        def loss(hidden, head, chosen):
            return heads.token_logprobs(hidden, head, chosen, temperature=1.0)[0].sum()

        program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(hidden, head, chosen)
        memory = program.compile().memory_analysis()
        return memory.temp_size_in_bytes, memory.output_size_in_bytes

    # No more scores than these are kept.
    assert extra(2**18, 513)[0] < heads._MOST_KEPT * 4 < extra(2**18)[0]
    monkeypatch.setattr(heads, "_MOST_KEPT", 0)
    (small, _), (large, gradients) = extra(2**15), extra(2**18)
    # Room for the head and its gradient in other layouts, none for eight times the
    # scores: those of one chunk alone are 64 MiB.
    assert large - small < 3 * gradients < 512 * 2**15 * 4


def test_a_vocabulary_without_equal_chunks_is_refused():
    with pytest.raises(ValueError, match="vocabulary of 65537 has no equal chunks"):
        heads._count(65_537)
