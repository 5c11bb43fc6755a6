"""Rows without a question or without an answer."""


def stops(question: str, answer: str) -> bool:
    """Returns whether either is missing or blank."""
    return not question.strip() or not answer.strip()
