"""Tests for datachef_jax/verifier/gates/repetition.py."""

from datachef_jax.verifier.gates import repetition


def test_repetitive_counts_repeated_runs_of_longer_texts():
    limits = dict(ngram=2, min_tokens=5)
    # Runs: ab ba ab ba ab: 2 of 5 are new, 3/5 are copies.
    assert repetition.repetitive("a b a b a b", **limits, max_share=0.59)
    assert not repetition.repetitive("a b a b a b", **limits, max_share=0.6)
    assert not repetition.repetitive("a b a b", **limits, max_share=0.1)
    assert not repetition.repetitive("a", ngram=2, min_tokens=0, max_share=0.0)
