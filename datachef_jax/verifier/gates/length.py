"""Rows that are longer than what the later gates, or the fine-tuned model, can take."""

from collections.abc import Callable


def too_many_characters(question: str, answer: str, *, max_chars: int) -> bool:
    """Returns whether both together exceed `max_chars` characters."""
    return len(question) + len(answer) > max_chars


def too_many_tokens(
    question: str,
    answer: str,
    *,
    count: Callable[[str, str], int],
    max_tokens: int,
) -> bool:
    """Returns whether fine-tuning would cut the row.

    Args:
      question: Everything before the answer.
      answer: The last turn of the assistant.
      count: Tokens of both, with the chat template, of the model to be fine-tuned.
      max_tokens: Its context, in tokens.
    """
    return count(question, answer) > max_tokens
