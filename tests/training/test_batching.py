"""Tests for datachef_jax/training/batching.py."""

import numpy as np
import pytest

from datachef_jax.training import batching
from tests import blank


def _completion(*tokens):
    return blank.completion(tokens, logprobs=[-0.5 * t for t in tokens])


def test_rows_are_prompt_completion_padding_prompt_major():
    batch = batching.assemble(
        [[7, 8], [9]],
        [_completion(3, 1), _completion(4), _completion(5, 6, 1), _completion(2, 1)],
        np.array([[True, True], [True, False]]),
        time=5,
        pad_id=0,
    )
    np.testing.assert_array_equal(
        batch.tokens,
        [[7, 8, 3, 1, 0], [7, 8, 4, 0, 0], [9, 5, 6, 1, 0], [9, 2, 1, 0, 0]],
    )
    # The last row has no reward: nothing of it is learned from.
    mask = [[0, 0, 1, 1, 0], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(batch.completion_mask, np.array(mask, bool))
    np.testing.assert_array_equal(
        batch.behavior_logprobs, -0.5 * np.array(mask) * np.asarray(batch.tokens)
    )
    assert not batch.advantages.any()


def test_what_does_not_fit_is_refused():
    one = np.ones((1, 2), bool)
    rows = [_completion(1, 2), _completion(1, 2, 3)]
    with pytest.raises(ValueError, match="completion 1: 2 prompt tokens and 3 sampled"):
        batching.assemble([[5, 5]], rows, one, time=4, pad_id=0)
    with pytest.raises(ValueError, match="1 prompts and 1 completions do not make"):
        batching.assemble([[5, 5]], rows[:1], one, time=4, pad_id=0)
