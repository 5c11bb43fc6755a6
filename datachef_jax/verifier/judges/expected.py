"""The judge that grades a row with the first token of its reply, in one pass.

Deviation from the paper's section 3.3, whose judge reasons first: one forward pass
gives the probability of every grade, and the row is worth its expected score.
"""

import collections
from collections.abc import Callable, Sequence

from jaxtyping import Float
import numpy as np

from datachef_jax import types
from datachef_jax.serving.client import Client
from datachef_jax.verifier import memory
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
        self._known: memory.Memory[_Key, Float[np.ndarray, " grades"]]
        self._known = memory.Memory(_REMEMBERED)

    def grade(
        self,
        items: Sequence[Item],
        seeds: Sequence[int],
        *,
        progress: Callable[[int], None],
    ) -> list[Grade]:
        """See `Judge`. Equal rows are read once, and remembered for a while."""
        keys = [_key(*item) for item in items]
        copies, by_key = collections.Counter(keys), dict(zip(keys, items, strict=True))

        def read(new: Sequence[_Key]) -> Float[np.ndarray, "rows grades"]:
            if known := len(keys) - sum(copies[key] for key in new):
                progress(known)
            return self._client.score(
                self._prompter.prompts([by_key[key] for key in new], rubric.messages),
                self._candidates,
                ready=lambda i: progress(copies[new[i]]),
            )

        logprobs = self._known.recall(keys, read)
        return [
            _grade(logprobs[key], seed=seed, min_mass=self._min_mass)
            for key, seed in zip(keys, seeds, strict=True)
        ]


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
