"""Tests for datachef_jax/verifier/gates/truncation.py."""

import pytest

from datachef_jax.verifier.gates import truncation


@pytest.mark.parametrize(
    "answer",
    [
        "3 17 ...",
        "3 17…",
        "3, 17,",
        r"so \boxed{\frac{1}{2}",
        r"\boxed{1} no, \boxed{2",
        '{"answer": "3 17',
        '{"answer": [3, 17',
        "[[1, 2], [3",
        "```python\nprint(1)",
    ],
)
def test_truncated(answer):
    assert truncation.stops(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "3 17",
        "It is 7.",
        r"so \boxed{\frac{1}{2}}",
        r"\boxed{1} {",  # the box is closed, whatever stands behind it
        '{"answer": "a { in a string"}',
        r'{"answer": "a quote \" and a {"}',
        "[0, 1)",
        "[",  # the answer to a question about brackets
        "```python\nprint([)\n```",
        '{1, 2} and 5" more',
        r"\boxed{[0, 1)}",
    ],
)
def test_not_truncated(answer):
    assert not truncation.stops(answer)
