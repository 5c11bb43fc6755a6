"""Tests for datachef_jax/verifier/gates/refusal.py."""

import pytest

from datachef_jax.verifier.gates import refusal


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot answer that.",
        "I can't help with this request.",
        "I’m sorry, but I can’t assist with that.",
        "Sorry, I am unable to solve it",
        "I cannot.",
        "As an AI language model, I have no opinion.",
        "As an AI, I do not know.",
        "Well, as an AI I do not know.",
    ],
)
def test_refusal(answer):
    assert refusal.stops(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "7",
        "The knight says: I cannot lie. So he is a knight.",
        "I cannot be older than Tom, so Tom is 9.",
        "As an AI researcher, Ada earned 30 dollars.",
        "No, the conclusion cannot be drawn.",
    ],
)
def test_not_refusal(answer):
    assert not refusal.stops(answer)
