"""The gates that stop single rows: such a row scores 0 and is not judged."""

from collections.abc import Callable, Mapping, Sequence

from datachef_jax import types
from datachef_jax.verifier.gates import contract
from datachef_jax.verifier.gates import empty
from datachef_jax.verifier.gates import language
from datachef_jax.verifier.gates import length
from datachef_jax.verifier.gates import refusal
from datachef_jax.verifier.gates import repetition
from datachef_jax.verifier.gates import truncation
from datachef_jax.verifier.gates.settings import GateSettings

ROW_GATES = (
    "empty",
    "length",
    "context",
    "truncated",
    "refusal",
    "repetition",
    "language",
    "contract",
    "contamination",
    "incorrect",
)
"""In the order in which they are tried: the cheap ones bound the work of the others.
The last two, which look at more than the row, are `sets` and `correctness`."""

RowGate = Callable[[str, str], bool]
"""(question, answer) -> whether the row is stopped."""


def of_benchmark(
    examples: Sequence[types.Example],
    contract_name: str,
    settings: GateSettings,
    *,
    count_tokens: Callable[[str, str], int],
) -> Mapping[str, RowGate]:
    """Returns the gates that need nothing but a row, in order.

    Args:
      examples: The benchmark, which says in which language rows are to be.
      contract_name: Its contract, which says how answers are written.
      settings: Limits of the gates.
      count_tokens: Of question and answer, with the chat template.
    """
    sure = settings.min_language
    known = language.used(
        [example.question for example in examples], min_probability=sure
    )
    stutter = dict(
        ngram=settings.repetition_ngram,
        min_tokens=settings.repetition_min_tokens,
        max_share=settings.max_repetition,
    )
    return {
        "empty": empty.stops,
        "length": lambda question, answer: length.too_many_characters(
            question, answer, max_chars=settings.max_chars
        ),
        "context": lambda question, answer: length.too_many_tokens(
            question, answer, count=count_tokens, max_tokens=settings.max_tokens
        ),
        "truncated": lambda question, answer: truncation.stops(answer),
        "refusal": lambda question, answer: refusal.stops(answer),
        "repetition": lambda *texts: any(
            repetition.repetitive(text, **stutter) for text in texts
        ),
        "language": lambda *texts: any(
            language.foreign(text, known=known, min_probability=sure) for text in texts
        ),
        "contract": lambda question, answer: contract.stops(answer, contract_name),
    }


def stopped_by(gates: Mapping[str, RowGate], question: str, answer: str) -> str:
    """Returns the name of the first gate that stops a row, "" if none does."""
    return next((name for name, stops in gates.items() if stops(question, answer)), "")
