"""Deterministic checks that stand before any judge.

A row gate stops a row, which then scores 0 and is not judged. A set gate looks at the
whole dataset and multiplies the recipe's score by a factor in [0, 1].
"""

from collections.abc import Sequence
import dataclasses
import re

from datachef_jax.scoring import answers
from datachef_jax.verifier import contamination

QuestionAnswer = tuple[str, str]

# In the order in which they are tried: the cheap ones bound the work of the others.
ROW_GATES = (
    "empty",
    "length",
    "truncated",
    "refusal",
    "repetition",
    "contract",
    "contamination",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateSettings:
    """The numbers of all gates.

    Attributes:
      max_chars: Longest question plus answer, in characters.
      repetition_ngram: Tokens of the runs whose repetition is counted.
      repetition_min_tokens: Shorter texts may repeat themselves as they like; a
        matrix of zeros is no stutter.
      max_repetition: Largest share of runs that are copies of another run.
      duplication_weight: Taken from the factor 1 per share of duplicated rows.
      contamination_weight: Taken from the factor 1 per share of contaminated rows.
      min_rows: A dataset of fewer rows scores in proportion to its rows.
    """

    max_chars: int
    repetition_ngram: int
    repetition_min_tokens: int
    max_repetition: float
    duplication_weight: float
    contamination_weight: float
    min_rows: int

    def __post_init__(self):
        at_least_1 = ("max_chars", "repetition_ngram", "min_rows")
        at_least_0 = ("duplication_weight", "contamination_weight")
        for names, least in ((at_least_1, 1), (at_least_0, 0)):
            for name in names:
                value = getattr(self, name)
                if value < least:
                    raise ValueError(f"{name} must be at least {least}, got {value}")


def empty(question: str, answer: str) -> bool:
    """Returns whether either is missing or blank."""
    return not question.strip() or not answer.strip()


def too_long(question: str, answer: str, *, max_chars: int) -> bool:
    """Returns whether both together exceed `max_chars` characters."""
    return len(question) + len(answer) > max_chars


def truncated(answer: str) -> bool:
    r"""Returns whether an answer stops in the middle of what it began.

    It ends in dots or a comma, leaves a code fence or the braces of a `\boxed` open,
    or starts like JSON and does not close. "[0, 1)" closes: it is an interval.
    """
    answer = answer.strip()
    _, box, content = answer.rpartition(r"\boxed{")
    like_json = answer[:1] in ("{", "[") and len(answer) > 1
    return (
        answer.endswith(("...", "…", ","))
        or answer.count("```") % 2 == 1
        or (box != "" and not _closes("{" + content, strings=False))
        or (like_json and not _closes(answer, strings=True))
    )


def _closes(text: str, *, strings: bool) -> bool:
    """Returns whether the bracket that a text begins with is closed again.

    Brackets close one another whatever their kind, and count for nothing within
    double quotes, if `strings`.
    """
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = not escaped and character == "\\"
            continue
        quoted = strings and character == '"'
        depth += (character in "{[(") - (character in "}])")
        if depth == 0:
            return True
    return False


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


def refusal(answer: str) -> bool:
    """Returns whether an answer opens with "I cannot help ..." or "As an AI, ..."."""
    return _REFUSAL.search(answer[:_OPENING]) is not None


def repetitive(text: str, *, ngram: int, min_tokens: int, max_share: float) -> bool:
    """Returns whether too many runs of tokens repeat earlier ones.

    Args:
      text: A question or an answer.
      ngram: Tokens in a run.
      min_tokens: Shorter texts are never repetitive.
      max_share: Largest share of runs that may be copies.
    """
    tokens = contamination.normalise(text)
    runs = len(tokens) - ngram + 1
    if len(tokens) < min_tokens or runs < 1:
        return False
    distinct = len({tokens[i : i + ngram] for i in range(runs)})
    return 1.0 - distinct / runs > max_share


def breaks_contract(answer: str, contract: str) -> bool:
    """Returns whether the benchmark could not read an answer written like this.

    The contract "plain" takes the whole text for the answer, so prose passes here
    and is left to the judge.
    """
    return answers.extract(answer, contract) is None


def stopped_by(
    question: str,
    answer: str,
    *,
    contract: str,
    index: contamination.Contamination,
    settings: GateSettings,
) -> str:
    """Returns the name of the first row gate that stops a row, "" if none does.

    Args:
      question: Everything before the answer.
      answer: The last turn of the assistant.
      contract: The task's, see `scoring.answers`.
      index: Of the task's benchmark.
      settings: Limits of the gates.
    """
    stutter = dict(
        ngram=settings.repetition_ngram,
        min_tokens=settings.repetition_min_tokens,
        max_share=settings.max_repetition,
    )
    checks = {
        "empty": lambda: empty(question, answer),
        "length": lambda: too_long(question, answer, max_chars=settings.max_chars),
        "truncated": lambda: truncated(answer),
        "refusal": lambda: refusal(answer),
        "repetition": lambda: (
            repetitive(question, **stutter) or repetitive(answer, **stutter)
        ),
        "contract": lambda: breaks_contract(answer, contract),
        "contamination": lambda: index.holds(question),
    }
    return next((name for name in ROW_GATES if checks[name]()), "")


def duplication(rows: Sequence[QuestionAnswer], *, weight: float) -> float:
    """Returns 1 - weight x share of rows that repeat an earlier row, at least 0.

    Rows are equal if question and answer are, but for case and spacing.
    """
    distinct = {
        (contamination.normalise(question), contamination.normalise(answer))
        for question, answer in rows
    }
    return max(0.0, 1.0 - weight * (1.0 - len(distinct) / len(rows)))


def cleanness(
    rows: Sequence[QuestionAnswer],
    *,
    index: contamination.Contamination,
    weight: float,
) -> float:
    """Returns 1 - weight x share of rows that give away the benchmark, at least 0."""
    held = sum(index.holds(question) for question, _ in rows)
    return max(0.0, 1.0 - weight * held / len(rows))


def set_factors(
    rows: Sequence[QuestionAnswer],
    *,
    index: contamination.Contamination,
    settings: GateSettings,
) -> dict[str, float]:
    """Returns each set gate's factor in [0, 1] by name.

    Args:
      rows: The whole dataset, at least one row.
      index: Of the task's benchmark.
      settings: Weights of the gates.
    """
    return {
        "duplication": duplication(rows, weight=settings.duplication_weight),
        "contamination": cleanness(
            rows, index=index, weight=settings.contamination_weight
        ),
        "size": min(1.0, len(rows) / settings.min_rows),
    }
