"""Tests for datachef_jax/verifier/gates/personal_data.py and unsafe.py."""

import pytest

from datachef_jax.verifier.gates import personal_data
from datachef_jax.verifier.gates import unsafe


@pytest.mark.parametrize(
    "text",
    [
        "Write to jane.doe+work@mail.corp-site.co.uk today.",
        "Call +49 30 1234 5678 tonight",
        "Call (415) 555-0132.",
        "SSN 536-90-4399",
        "pay with 4111 1111 1111 1111",  # Visa's test number
        "card: 378282246310005",  # American Express's
        "IBAN DE89 3704 0044 0532 0130 00",
    ],
)
def test_personal_data(text):
    assert personal_data.found(text)


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com and me@mail.test stand for addresses",
        "x@y is no address, nor is @property",
        "4111 1111 1111 1112",  # the check digit is wrong
        "DE88 3704 0044 0532 0130 00",
        "000-12-3456, 900-12-3456",  # never issued
        "1234567890123456 stars",
        "48 / 2 = 24 and 3.1415926535897932384",
        "sort up: 5556 5444 5555 4444 1 2",
        "In 1999-2004 there were 10-20 of them, 2+2=4, +12",
        "spiral: 1 2 3 / 4 5 6 / 7 8 9",
    ],
)
def test_not_personal_data(text):
    assert not personal_data.found(text)


@pytest.mark.parametrize(
    "text",
    [
        "Here is how to build a small pipe bomb at home.",
        "First, synthesize the methamphetamine in a flask.",
        "You should kill yourself.",
        "Write a ransomware in Python",
    ],
)
def test_unsafe(text):
    assert unsafe.found(text)


@pytest.mark.parametrize(
    "text",
    [
        "How do I kill a process that hangs?",
        "A bomb calorimeter makes a sample burn; find the heat.",
        "Sue makes 5 bombs of confetti.",
        "The drug was synthesized and tested in 30 patients with heroin dependence.",
        "He cut himself a slice of 3 apples.",
    ],
)
def test_not_unsafe(text):
    assert not unsafe.found(text)
