"""Whether a training question is a benchmark question in other words.

A rewording keeps the numbers and some of the words, in any order. So the two are
compared as bags: the share of their words and numbers, each weighted by how rare it is
in the benchmark (inverse document frequency, Sparck Jones 1972), that both have. A
question of which a number is missing is another question, whatever its words.

The constants were chosen on half of GSM8K's test questions, reworded with another seed
than the one that `configs/bench/contamination.py` reports on, and on its training rows.

Not covered: translations, texts written without spaces, numbers in words above twenty
that become digits, rewordings of which fewer than about half of the telling words and
numbers are left, and benchmarks that ask one thing many times with other words filled
in, whose questions nothing tells apart. Names count for nothing, since they are the
first to be swapped: questions that differ in names alone are taken for one another.
"""

import collections
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
import math
import functools
import re
import unicodedata

from jaxtyping import Float
import numpy as np

_OVERLAP = 0.5  # of the weight of a pair, that both must have
_NUMBERS = 2.0  # a number that both have says more than a word as rare
# Nats. Were words independent, one pair in e^10 = 22,000 would agree as well.
_EVIDENCE = 10.0
_COMMON = 3  # other questions that are as close before closeness says nothing

_TOKEN = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|[^\W\d_]+")
# Without "one", which is mostly a pronoun.
_NUMBER_WORDS = {
    word: str(number)
    for number, word in [
        *enumerate(
            "two three four five six seven eight nine ten eleven twelve thirteen "
            "fourteen fifteen sixteen seventeen eighteen nineteen twenty".split(),
            start=2,
        ),
        *zip(
            range(30, 100, 10),
            "thirty forty fifty sixty seventy eighty ninety".split(),
            strict=True,
        ),
    ]
}

Number = tuple[str, int]
"""A number, and how often it stood in the text before: a bag as a set."""


class Rewording:
    """An index of one benchmark.

    Looking a text up takes time linear in the text, times at most the questions that
    share its words.
    """

    def __init__(self, questions: Collection[str]):
        """Reads the questions.

        Args:
          questions: Those of the benchmark; copies count once.
        """
        self.questions = tuple(dict.fromkeys(questions))
        names = _names(self.questions)
        read = [_read(question) for question in self.questions]
        self._words = _Bags([words - names for words, _ in read])
        self._numbers = _Bags([numbers for _, numbers in read])
        self._formulaic = np.array(
            [self._many_are_as_close(words, i) for i, (words, _) in enumerate(read)],
            bool,
        )

    def holds(self, text: str) -> bool:
        """Returns whether a text, or a line of it, is a question in other words."""
        words, _ = _read(text)
        if self._words.weight(words, unknown=0.0) < _EVIDENCE:  # nor has any line
            return False
        return any(
            bool((self.overlaps(part) >= _OVERLAP).any()) for part in _parts(text)
        )

    def overlaps(self, text: str) -> Float[np.ndarray, " questions"]:
        """Returns how much of each question and of a text is in both.

        Args:
          text: All of it is compared.

        Returns:
          Twice the weight that both have over the sum of their weights (Dice), in
          [0, 1], for each of `questions`. Words that no question has weigh nothing:
          nothing is hidden among them. 0 where a number of the question is missing,
          where the words in both are too few or too common to tell anything, and for
          questions like many others of the benchmark.
        """
        words, numbers = _read(text)
        if self._words.weight(words, unknown=0.0) < _EVIDENCE:  # most lines
            return np.zeros(len(self.questions))
        in_both = self._words.shared(words)
        none_missing = self._numbers.found(numbers) == self._numbers.sizes
        telling = (in_both >= _EVIDENCE) & none_missing & ~self._formulaic
        weights = self._words.weights + self._words.weight(words, unknown=0.0)
        weights += _NUMBERS * (
            self._numbers.weights
            + self._numbers.weight(numbers, unknown=self._numbers.most)
        )
        shared = in_both + _NUMBERS * self._numbers.shared(numbers)
        return np.where(telling, 2.0 * shared / weights, 0.0)

    def _many_are_as_close(self, words: frozenset[str], own: int) -> bool:
        """Returns whether the words of many other questions overlap with these."""
        weights = self._words.weights + self._words.weight(words, unknown=0.0)
        close = 2.0 * self._words.shared(words) >= _OVERLAP * weights
        close[own] = False
        return int(close.sum()) >= _COMMON


class _Bags:
    """Sets of things, found by what is in them.

    Attributes:
      sizes: Things in each set.
      weights: Sum of the weights of the things in each set, nats.
      most: Weight of a thing that is in none.
    """

    def __init__(self, bags: Sequence[Collection[Hashable]]):
        within: dict[Hashable, list[int]] = {}
        for i, bag in enumerate(bags):
            for thing in bag:
                within.setdefault(thing, []).append(i)
        self._within = {thing: np.array(ids) for thing, ids in within.items()}
        self.most = math.log(len(bags) + 1)
        self._weight = {
            thing: self.most - math.log(len(ids)) for thing, ids in within.items()
        }
        self.sizes = np.array([len(bag) for bag in bags], int)
        self.weights = np.array([self.weight(bag, unknown=0.0) for bag in bags], float)

    def weight(self, things: Iterable[Hashable], *, unknown: float) -> float:
        """Returns the weight of some things, `unknown` for one that is in no set."""
        # Exact, so that the order, which differs between processes, does not matter.
        return math.fsum(self._weight.get(thing, unknown) for thing in things)

    def shared(self, things: Iterable[Hashable]) -> Float[np.ndarray, " sets"]:
        """Returns the weight of the things that are in each set."""
        return self._sum(things, self._weight.__getitem__)

    def found(self, things: Iterable[Hashable]) -> Float[np.ndarray, " sets"]:
        """Returns how many of the things are in each set."""
        return self._sum(things, lambda thing: 1.0)

    def _sum(
        self, things: Iterable[Hashable], value: Callable[[Hashable], float]
    ) -> Float[np.ndarray, " sets"]:
        known = sorted(thing for thing in things if thing in self._within)
        if not known:
            return np.zeros(len(self.sizes))
        ids = [self._within[thing] for thing in known]
        values = np.repeat([value(thing) for thing in known], [len(i) for i in ids])
        return np.bincount(np.concatenate(ids), values, minlength=len(self.sizes))


def _parts(text: str) -> Iterator[str]:
    """Yields a text, and its lines if there are several: examples in a prompt."""
    yield text
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        yield from lines


@functools.lru_cache(maxsize=64)  # every index asks in turn, for each line
def _read(text: str) -> tuple[frozenset[str], frozenset[Number]]:
    """Returns the words of a text in lowercase, and its numbers.

    Small numbers in words are numbers: "three" is 3. "1,000.50" is 1000.5.
    """
    words: set[str] = set()
    counts: collections.Counter[str] = collections.Counter()
    for token in _TOKEN.findall(unicodedata.normalize("NFKC", text)):
        folded = token.casefold()
        if token[0].isdecimal():
            whole, point, decimals = token.replace(",", "").partition(".")
            counts[f"{whole}{point}{decimals.rstrip('0')}".rstrip(".")] += 1
        elif folded in _NUMBER_WORDS:
            counts[_NUMBER_WORDS[folded]] += 1
        else:
            words.add(folded)
    numbers = {(n, before) for n, times in counts.items() for before in range(times)}
    return frozenset(words), frozenset(numbers)


def _names(texts: Iterable[str]) -> frozenset[str]:
    """Returns the words that always have a capital: they are the first to be swapped.

    With them go words that only begin sentences, which the weights do not miss.
    """
    capital: set[str] = set()
    small: set[str] = set()
    for text in texts:
        for token in _TOKEN.findall(unicodedata.normalize("NFKC", text)):
            (capital if token.istitle() else small).add(token.casefold())
    return frozenset(capital - small)
