"""The judge that grades a row with the first token of its reply, in one pass.

Deviation from the paper's section 3.3, whose judge reasons first: one forward pass
gives the probability of every grade, and the row is worth its expected score.
"""

import collections
from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Float
import numpy as np

from datachef_jax import types
from datachef_jax.serving.client import Client
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges import grade as grades
from datachef_jax.verifier.judges.grade import Grade
from datachef_jax.verifier.judges.grade import Item
from datachef_jax.verifier.judges.prompting import Prompter

_REMEMBERED = 2**16  # rows
_Key = tuple[str, ...]


class ExpectedJudge(grades.Judge):
    """Grades rows, all at once, in one forward pass each."""

    def __init__(self, client: Client, prompter: Prompter, *, min_mass: float):
        """Finds the grades' tokens.

        Args:
          client: Of the judge's model.
          prompter: Makes its prompts.
          min_mass: A verdict is unreadable if the judge gives all grades together
            less probability than this, in [0, 1].

        Raises:
          ValueError: If a grade is not a single token.
        """
        self._client = client
        self._prompter = prompter
        self._min_mass = min_mass
        self._candidates = [prompter.token(letter) for letter in grades.LETTERS]
        # The recipes of all steps draw on the same sources, and so do their rows.
        self._known: collections.OrderedDict[_Key, Float[np.ndarray, " grades"]]
        self._known = collections.OrderedDict()

    def grade(
        self,
        items: Sequence[Item],
        seeds: Sequence[int],
        *,
        progress: Callable[[int], None],
    ) -> list[Grade]:
        """See `Judge`. Equal rows are read once, and remembered for a while."""
        keys = [_key(*item) for item in items]
        copies = collections.Counter(keys)
        new = {k: i for k, i in zip(keys, items, strict=True) if k not in self._known}
        names = list(new)
        if known := sum(count for key, count in copies.items() if key not in new):
            progress(known)
        logprobs = {key: self._known[key] for key in copies if key not in new}
        scored = self._client.score(
            self._prompter.prompts(list(new.values()), rubric.messages),
            self._candidates,
            ready=lambda i: progress(copies[names[i]]),
        )
        logprobs |= zip(names, scored, strict=True)
        self._remember(logprobs)
        return [
            _grade(logprobs[key], seed=seed, min_mass=self._min_mass)
            for key, seed in zip(keys, seeds, strict=True)
        ]

    def _remember(self, logprobs: Mapping[_Key, Float[np.ndarray, " grades"]]) -> None:
        """Keeps what was read or asked for last."""
        for key, found in logprobs.items():
            self._known[key] = found
            self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _key(task: types.Task, question: str, answer: str) -> _Key:
    """Returns all that a prompt says: two rows of one key are read alike."""
    told = (task.name, task.instruction, task.benchmark, task.benchmark_description)
    return (*told, question, answer)


def _grade(
    logprobs: Float[np.ndarray, " grades"], *, seed: int, min_mass: float
) -> Grade:
    """Turns natural-log probabilities of the grades' tokens into a grade."""
    likely = np.exp(logprobs.astype(np.float64))
    mass = float(likely.sum())
    if not mass >= min_mass or mass == 0.0:  # also where a broken judge says NaN
        return grades.unreadable(mass)
    return grades.expected(likely / mass, mass=mass, seed=seed)
