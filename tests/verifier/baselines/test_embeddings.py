"""Tests for datachef_jax/verifier/baselines/embeddings.py."""

import numpy as np
import pytest

from datachef_jax.verifier.baselines import embeddings
from tests.verifier.baselines.conftest import PAIRS


def _chats(words, pairs=PAIRS):
    return [
        words.chat(
            [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ],
            generation_prompt=False,
        )
        for question, answer in pairs
    ]


@pytest.mark.parametrize("pooling", embeddings.POOLINGS)
def test_pools_the_states_of_a_rows_own_tokens(make_embedder, words, hidden, pooling):
    got = make_embedder(pooling=pooling).embed(PAIRS)
    states = hidden(_chats(words))
    pool = {"last": lambda x: x[-1], "mean": lambda x: x.mean(0)}[pooling]
    expected = np.stack([pool(x.astype(np.float64)) for x in states])
    np.testing.assert_allclose(got.vectors, expected, atol=1e-4)
    assert not got.cut.any()
    assert got.vectors.dtype == np.float32


def test_a_row_is_the_same_in_any_company(make_embedder):
    crowd = [*PAIRS, *PAIRS[::-1], *PAIRS]
    expected = make_embedder(pooling="mean").embed(PAIRS).vectors
    for batch_tokens in (1, 256):
        made = make_embedder(pooling="mean", batch_tokens=batch_tokens)
        got = made.embed(crowd).vectors
        np.testing.assert_allclose(got[:6], expected, atol=1e-5)
        np.testing.assert_allclose(got[6:12], expected[::-1], atol=1e-5)
        np.testing.assert_allclose(got[12:], expected, atol=1e-5)


def test_a_long_row_loses_its_end(make_embedder, words, hidden):
    got = make_embedder(max_tokens=50).embed(PAIRS)
    lengths = np.array([len(chat) for chat in _chats(words)])
    assert got.cut.tolist() == (lengths > 50).tolist() and got.cut.any()
    states = hidden([chat[:50] for chat in _chats(words)])
    expected = np.stack([x[-1] for x in states])
    np.testing.assert_allclose(got.vectors, expected, atol=1e-4)


def test_no_rows_are_no_vectors(make_embedder):
    got = make_embedder().embed([])
    assert got.vectors.shape == (0, 32) and got.cut.shape == (0,)


def test_unit_vectors_have_length_one_and_zeros_stay():
    got = embeddings.unit(np.array([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]]))
    np.testing.assert_allclose(got, [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]])


@pytest.mark.parametrize(
    "field, value", [("pooling", "max"), ("max_tokens", 0), ("batch_tokens", 0)]
)
def test_settings_that_make_no_sense_are_refused(make_embedder, field, value):
    with pytest.raises(ValueError, match=f"{field}.*{value}"):
        make_embedder(**{field: value})
