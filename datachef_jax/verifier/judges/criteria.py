"""The judge that is asked one question for each check of the rubric.

A compound question lets one good side of a row pay for a bad one; single ones do not
(libraries such as Rubrics as Rewards, arXiv:2507.17746, ask so). The grade follows
from the checks in their order, as if they were independent.
"""

import collections
from collections.abc import Callable, Sequence
import functools

from jaxtyping import Float
import numpy as np

from datachef_jax.serving.client import Client
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges import grade as grades
from datachef_jax.verifier.judges.grade import Grade
from datachef_jax.verifier.judges.grade import Item
from datachef_jax.verifier.judges.prompting import Prompter

_CHECKS = tuple(rubric.CHECKS)


class CriteriaJudge(grades.Judge):
    """Grades rows in one forward pass for each check, which share their beginning."""

    def __init__(self, client: Client, prompter: Prompter, *, min_mass: float):
        """Finds the replies' tokens.

        Args:
          client: Of the judge's model.
          prompter: Makes its prompts, of the full style.
          min_mass: A verdict is unreadable if at any check the judge gives yes and no
            together less probability than this, in [0, 1].

        Raises:
          ValueError: If a reply is not a single token, or the style is compact.
        """
        if prompter.style.name != "full":
            raise ValueError(
                "single checks need the style 'full', got "
                f"{prompter.style.name!r}: a compact prompt has no checks"
            )
        self._client = client
        self._prompter = prompter
        self._min_mass = min_mass
        self._candidates = [prompter.token(reply) for reply in (rubric.YES, rubric.NO)]

    def grade(
        self,
        items: Sequence[Item],
        seeds: Sequence[int],
        *,
        progress: Callable[[int], None],
    ) -> list[Grade]:
        """See `Judge`. Equal rows are read once."""
        keys = [(task.name, question, answer) for task, question, answer in items]
        copies = collections.Counter(keys)
        read = dict(zip(keys, items, strict=True))
        names = list(read)
        answered = collections.Counter[int]()

        def ready(place: int) -> None:
            row = place // len(_CHECKS)
            answered[row] += 1
            if answered[row] == len(_CHECKS):
                progress(copies[names[row]])

        by_check = [
            self._prompter.prompts(
                list(read.values()), functools.partial(rubric.check, grade=letter)
            )
            for letter in _CHECKS
        ]
        # Row by row: the checks of a row are asked while its beginning is at hand.
        prompts = [prompt for row in zip(*by_check, strict=True) for prompt in row]
        scored = self._client.score(prompts, self._candidates, ready=ready)
        logprobs = dict(
            zip(names, scored.reshape(len(names), len(_CHECKS), 2), strict=True)
        )
        return [
            _grade(logprobs[key], seed=seed, min_mass=self._min_mass)
            for key, seed in zip(keys, seeds, strict=True)
        ]


def _grade(
    logprobs: Float[np.ndarray, "checks 2"], *, seed: int, min_mass: float
) -> Grade:
    """Turns natural-log probabilities of yes and no at each check into a grade."""
    likely = np.exp(logprobs.astype(np.float64))
    mass = float(likely.sum(axis=1).min())
    if not mass >= min_mass or mass == 0.0:
        return grades.unreadable(mass)
    passes = likely[:, 0] / likely.sum(axis=1)
    reached = np.concatenate([[1.0], np.cumprod(passes)])  # the last: passed them all
    fails = np.concatenate([1.0 - passes, [1.0]])
    probabilities = reached * fails
    return grades.expected(probabilities / probabilities.sum(), mass=mass, seed=seed)
