"""Whether a training question gives away a question of the benchmark.

Texts are compared as token sequences, so case, spacing and full-width letters hide
nothing, and "7 + 3" is not found in "17 + 3"; and as bags of words and numbers, which
finds what was reworded (see `rewording`). Not covered: translations.
"""

import collections
from collections.abc import Collection, Iterable, Iterator, Sequence
import functools
import re
import unicodedata

from datachef_jax import types
from datachef_jax.verifier.gates import rewording

Tokens = tuple[str, ...]

# Kana, Han and Hangul: written without spaces, so each character is a token.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(
    rf"\d+(?:\.\d+)?|[{_UNSPACED}]|[^\W\d_{_UNSPACED}]+|[^\w\s]|_", re.UNICODE
)

_NGRAM = 13  # Brown et al. 2020, arXiv:2005.14165, appendix C
# More than half of a 13-gram must be telling. A run of 7 that several questions share
# marks it as boilerplate ("... of these numbers: 3, 17"), and so do fewer than 7
# different tokens: small grids of few digits agree by chance.
_TELLING = 7
_COMMON = 3  # questions that share a run before it counts as boilerplate
# Formulaic questions differ in few words ("All writers are artists. So: ..."): of the
# 7 different tokens, 4 must be rare: stand in at most a fifth of the questions.
_RARE, _OFTEN = 4, 0.2
_CONTAINED = 4  # shorter questions ("2 + 2") are contained in everything
_JOINS = frozenset("+-*/^%,;")


@functools.lru_cache(maxsize=16)  # every index asks in turn
def normalise(text: str) -> Tokens:
    """Returns lowercase words, numbers and single symbols; whitespace is dropped."""
    return tuple(_TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()))


class Contamination:
    """An index of one benchmark; looking a row up takes time linear in the row."""

    def __init__(self, examples: Sequence[types.Example]):
        """Reads the questions; their answers are not looked at.

        Args:
          examples: The benchmark.
        """
        questions = {normalise(example.question) for example in examples} - {()}
        self._questions = frozenset(questions)
        self._contained = _Automaton(q for q in questions if len(q) >= _CONTAINED)
        common, often = _shared(questions, _TELLING), _frequent(questions)
        self._ngrams = frozenset(
            ngram
            for question in questions
            for ngram in _windows(question, _NGRAM)
            if len(set(ngram)) >= _TELLING
            and len(set(ngram) - often) >= _RARE
            and common.isdisjoint(_windows(ngram, _TELLING))
        )
        self._rewording = rewording.Rewording([e.question for e in examples])

    def holds(self, question: str) -> bool:
        """Returns whether a training question gives away a benchmark question."""
        return self.how(question) != ""

    def how(self, question: str) -> str:
        """Returns in which way a training question gives away a benchmark question.

        Args:
          question: All that stands before the answer.

        Returns:
          "equal": their tokens are.
          "contained": it holds all tokens of a question of at least 4 in one run.
          "quoted": both hold a run of 13 tokens. Boilerplate does not count: runs of
            which 7 tokens on end stand in at least 3 questions of the benchmark, or
            that are made of fewer than 7 tokens or of fewer than 4 rare ones.
          "reworded": see `rewording`.
          "": not at all.
        """
        tokens = normalise(question)
        if tokens in self._questions:
            return "equal"
        if any(
            not _cut_out(tokens, start, end)
            for start, end in self._contained.spans(tokens)
        ):
            return "contained"
        if not self._ngrams.isdisjoint(_windows(tokens, _NGRAM)):
            return "quoted"
        return "reworded" if self._rewording.holds(question) else ""


def _windows(tokens: Tokens, size: int) -> Iterator[Tokens]:
    return (tokens[i : i + size] for i in range(len(tokens) - size + 1))


def _shared(questions: Iterable[Tokens], size: int) -> frozenset[Tokens]:
    """Returns the runs of `size` tokens that are boilerplate."""
    counts = collections.Counter(
        run for question in questions for run in set(_windows(question, size))
    )
    return frozenset(run for run, count in counts.items() if count >= _COMMON)


def _frequent(questions: Collection[Tokens]) -> frozenset[str]:
    """Returns the tokens that stand in many of the questions."""
    counts = collections.Counter(
        token for question in questions for token in set(question)
    )
    least = max(_COMMON, _OFTEN * len(questions))
    return frozenset(token for token, count in counts.items() if count > least)


def _cut_out(tokens: Tokens, start: int, end: int) -> bool:
    """Returns whether a run was cut out of a longer sum or list.

    "3 + 2 =" stands in "7 + 3 + 2 =", which is another question all the same.
    """
    before, after = tokens[max(start - 2, 0) : start][::-1], tokens[end : end + 2]
    return _goes_on(tokens[start], before) or _goes_on(tokens[end - 1], after)


def _goes_on(edge: str, beyond: Tokens) -> bool:
    """Returns whether a number or letter at the edge of a run has a like neighbour."""
    if _kind(edge) == "other" or not beyond:
        return False
    joined = len(beyond) == 2 and beyond[0] in _JOINS
    return _kind(edge) == _kind(beyond[1] if joined else beyond[0])


def _kind(token: str) -> str:
    """Returns what a list or sum could be made of: "number", "letter" or "other"."""
    if token[0].isdecimal():
        return "number"
    return "letter" if len(token) == 1 and "a" <= token <= "z" else "other"


class _Automaton:
    """Finds all of many token runs in one pass (Aho and Corasick 1975)."""

    def __init__(self, runs: Iterable[Tokens]):
        self._next: list[dict[str, int]] = [{}]
        self._lengths: list[tuple[int, ...]] = [()]  # of the runs that end in a state
        for run in runs:
            self._add(run)
        self._fallback = [0] * len(self._next)
        queue = collections.deque(self._next[0].values())
        while queue:  # breadth first: a fallback is shorter, so it is ready
            state = queue.popleft()
            for token, child in self._next[state].items():
                fallback = self._fallback[state]
                while fallback and token not in self._next[fallback]:
                    fallback = self._fallback[fallback]
                self._fallback[child] = self._next[fallback].get(token, 0)
                self._lengths[child] += self._lengths[self._fallback[child]]
                queue.append(child)

    def spans(self, tokens: Tokens) -> Iterator[tuple[int, int]]:
        """Yields (start, end) of every occurrence of every run."""
        state = 0
        for end, token in enumerate(tokens, start=1):
            while state and token not in self._next[state]:
                state = self._fallback[state]
            state = self._next[state].get(token, 0)
            for length in self._lengths[state]:
                yield end - length, end

    def _add(self, run: Tokens) -> None:
        state = 0
        for token in run:
            if token not in self._next[state]:
                self._next[state][token] = len(self._next)
                self._next.append({})
                self._lengths.append(())
            state = self._next[state][token]
        self._lengths[state] = (len(run),)
