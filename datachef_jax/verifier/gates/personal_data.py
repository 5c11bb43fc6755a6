"""Personal data: what identifies a person or an account.

Patterns alone, with check digits where there are any: e-mail addresses, telephone
numbers with a country's or an area's mark, social security numbers of the United
States, payment cards, bank accounts (IBAN). Names and postal addresses, which no
pattern tells from fiction, are not found.
"""

import re

_EMAIL = re.compile(
    r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}\b"
)
_RESERVED = re.compile(
    r"@(?:[\w-]+\.)*example\.(?:com|net|org)$|\.(?:example|test|invalid)$"
)
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?"
    r"\d{2,4}(?:[ .-]?\d{2,4}){2,3}|\(\d{3}\) ?\d{3}-\d{4})(?![\w-])"
)
_SOCIAL_SECURITY = re.compile(
    r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"
)
_CARD = re.compile(r"(?<![\d.-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\d.-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")


def found(text: str) -> bool:
    """Returns whether a text holds any of it; takes time linear in the text."""
    return (
        any(not _RESERVED.search(m.group()) for m in _EMAIL.finditer(text))
        or _PHONE.search(text) is not None
        or _SOCIAL_SECURITY.search(text) is not None
        or any(_luhn(m.group()) for m in _CARD.finditer(text))
        or any(_mod_97(m.group()) for m in _IBAN.finditer(text))
    )


def _luhn(number: str) -> bool:
    """Returns whether a payment card's check digit is right (ISO/IEC 7812-1)."""
    digits = [int(c) for c in number if c.isdigit()]
    if not 13 <= len(digits) <= 19:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _mod_97(account: str) -> bool:
    """Returns whether an IBAN's check digits are right (ISO 13616)."""
    compact = account.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
