"""Answers that refuse to answer."""

import re

_UNWILLING = r"(?:cannot|can not|can['’]t|(?:am|['’]m) (?:unable|not able) to)"
_REFUSED = (
    r"(?:answer|assist|complete|comply|create|determine|discuss|do|fulfil|fulfill"
    r"|generate|give|help|make|provide|respond|say|share|solve|tell|write)\b"
)
_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]m|i am|we are)?\s*(?:very\s+)?(?:sorry|afraid)\b[^.!\n]{0,60}?)?"
    rf"\bi\s*{_UNWILLING}(?:\s+(?:\w+\s+)?{_REFUSED}|\W*$)"
    r"|\bas an? (?:ai|(?:large )?language model|ai (?:language )?(?:model|assistant))"
    r"\s*(?:,|\bi\b)",
    re.IGNORECASE,
)
_OPENING = 300  # characters in which a refusal shows; later ones are quotations


def stops(answer: str) -> bool:
    """Returns whether an answer opens with "I cannot help ..." or "As an AI, ..."."""
    return _REFUSAL.search(answer[:_OPENING]) is not None
