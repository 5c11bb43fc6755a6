"""Tests for datachef_jax/verifier/gates/contract.py."""

import pytest

from datachef_jax.verifier.gates import contract as contracts


@pytest.mark.parametrize(
    ("answer", "contract", "breaks"),
    [
        ("The answer is 7.", "plain", False),
        ("The answer is 7.", "boxed", True),
        (r"\boxed{7}", "boxed", False),
        ("B", "letter", False),
        ("Because of B", "letter", True),
        ('{"answer": "7"}', "json", False),
        ("7", "json", True),
    ],
)
def test_breaks_contract(answer, contract, breaks):
    assert contracts.stops(answer, contract) == breaks
