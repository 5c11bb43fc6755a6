"""Rows made by a language model, which answers through the sandbox."""

from collections.abc import Callable, Iterator, Sequence
import json
import re
from typing import Any

import datasets

from sandbox.aidp import rows
from sandbox.aidp import session

Messages = list[dict[str, str]]
Parser = Callable[[str, dict[str, Any]], rows.Made]

# What is asked at once. The sandbox takes frames of up to 1 MiB.
_MAX_REQUESTS = 64
_MAX_CHARS = 80_000  # of which JSON makes 12 bytes each at most
_YES = re.compile(r"\W*yes\b", re.IGNORECASE)
_SCORE = re.compile(r"(?<!\d)[1-5](?!\d)")


def generate_dataset_with_llm(
    ds: rows.Rows,
    system_prompt: str = "",
    response_parser: Parser | None = None,
    user_map: rows.Map | None = None,
) -> datasets.Dataset:
    """Asks a language model about each row and makes new rows of its answers.

    Args:
      ds: The rows.
      system_prompt: What the model is told to do.
      response_parser: Function `(response, raw) -> list of rows` of the model's
        answer and the row that it was asked about; an empty list drops the row. By
        default the row with the answer in a new column `response`.
      user_map: What the model is asked about: a column, or a function of a row. By
        default the row as JSON.

    Raises:
      RuntimeError: If this recipe has no LLM calls left.
    """
    given = rows.to_rows(ds)
    parse = response_parser or _keep_response
    made: list[dict[str, Any]] = []
    answered = zip(_ask(given, system_prompt, user_map), given, strict=True)
    for value in rows.each(parse, answered, "response_parser"):
        made.extend(rows.made(value, "response_parser"))
    session.record("generate_dataset_with_llm", len(given), len(made))
    return rows.from_rows(made, source=rows.source_of(ds))


def filter_with_llm(
    ds: rows.Rows, question: str, user_map: rows.Map | None = None
) -> datasets.Dataset:
    """Keeps the rows for which a language model answers a question with yes.

    Args:
      ds: The rows.
      question: About a row, like "Is the answer correct?".
      user_map: What the model is shown: a column, or a function of a row. By default
        the row as JSON.

    Raises:
      RuntimeError: If this recipe has no LLM calls left.
    """
    given = rows.to_rows(ds)
    told = f"{question}\nReply with yes or no, and nothing else."
    answers = _ask(given, told, user_map)
    kept = [i for i, answer in enumerate(answers) if _YES.match(answer)]
    session.record("filter_with_llm", len(given), len(kept))
    return rows.select(ds, given, kept)


def score_with_llm(
    ds: rows.Rows,
    criterion: str,
    column: str = "score",
    user_map: rows.Map | None = None,
) -> datasets.Dataset:
    """Adds a column with a language model's score of each row, from 1 to 5.

    Args:
      ds: The rows.
      criterion: What is scored, like "How clear is the question?".
      column: Its name. Rows whose score cannot be read have None.
      user_map: What the model is shown: a column, or a function of a row. By default
        the row as JSON.

    Raises:
      RuntimeError: If this recipe has no LLM calls left.
    """
    given = rows.to_rows(ds)
    told = f"{criterion}\nReply with a whole number from 1 (worst) to 5 (best)."
    found = [_SCORE.search(answer) for answer in _ask(given, told, user_map)]
    scores = [int(score[0]) if score else None for score in found]
    made = [{**row, column: score} for row, score in zip(given, scores, strict=True)]
    session.record("score_with_llm", len(given), len(made))
    return rows.from_rows(made, source=rows.source_of(ds))


def _ask(
    given: Sequence[rows.Row], system_prompt: str, user_map: rows.Map | None
) -> list[str]:
    """Returns the model's answer about each row."""
    ask = rows.mapper(_as_json if user_map is None else user_map, given, "user_map")
    asked = rows.each(ask, given, "user_map")
    requests = [_messages(system_prompt, question) for question in asked]
    return [answer for chunk in _chunks(requests) for answer in _answer(chunk)]


def _as_json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str)


def _keep_response(response: str, raw: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**raw, "response": response}]


def _messages(system_prompt: str, question: Any) -> Messages:
    user = {"role": "user", "content": "" if question is None else str(question)}
    system = {"role": "system", "content": system_prompt}
    return [system, user] if system_prompt else [user]


def _chunks(requests: Sequence[Messages]) -> Iterator[list[Messages]]:
    """Splits the requests into frames that the sandbox takes."""
    chunk: list[Messages] = []
    chars = 0
    for request in requests:
        size = sum(len(message["content"]) for message in request)
        if chunk and (len(chunk) == _MAX_REQUESTS or chars + size > _MAX_CHARS):
            yield chunk
            chunk, chars = [], 0
        chunk.append(request)
        chars += size
    if chunk:
        yield chunk


def _answer(chunk: list[Messages]) -> list[str]:
    run = session.current()
    run.send({"ask": chunk})
    reply = run.receive()
    if "error" in reply:
        raise RuntimeError(reply["error"])
    return reply["answers"]
