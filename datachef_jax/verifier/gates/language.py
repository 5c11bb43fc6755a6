"""Texts in a language that the benchmark does not use.

py3langid (Lui and Baldwin 2012, langid.py) says which one; its model is part of the
package. A short text, or one of numbers and signs, is in no language for sure, and
never stopped.
"""

from collections.abc import Sequence
import functools

from py3langid import langid

_MIN_LETTERS = 60  # bytes of letters from which on a text is taken to be in a language
_MAX_CHARS = 2000  # that are looked at; more do not make it surer
_MIN_SHARE = 0.05  # of a benchmark's texts: rarer languages are mistakes
_TEXTS = 200  # of a benchmark that are looked at


@functools.cache
def _identifier() -> langid.LanguageIdentifier:
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def _language(text: str, *, min_probability: float) -> str:
    """Returns the ISO 639-1 code of a text's language, "" if that is not sure."""
    text = text[:_MAX_CHARS]
    letters = "".join(c if c.isalpha() else " " for c in text)
    if len("".join(letters.split()).encode("utf-8", "ignore")) < _MIN_LETTERS:
        return ""
    code, probability = _identifier().classify(" ".join(letters.split()))
    return code if probability >= min_probability else ""


def used(texts: Sequence[str], *, min_probability: float) -> frozenset[str]:
    """Returns the languages of a benchmark; none if its texts are too short to say."""
    found = [
        _language(text, min_probability=min_probability) for text in texts[:_TEXTS]
    ]
    named = [code for code in found if code]
    return frozenset(c for c in named if named.count(c) >= _MIN_SHARE * len(named))


def foreign(text: str, *, known: frozenset[str], min_probability: float) -> bool:
    """Returns whether a text is in none of the languages.

    Args:
      text: A question or an answer.
      known: Those of the benchmark; nothing is foreign if there are none.
      min_probability: How sure one has to be, in [0, 1].
    """
    if not known:
        return False
    code = _language(text, min_probability=min_probability)
    return code != "" and code not in known
