"""The judge that reasons and then puts its grade in a box, as the paper's does."""

from collections.abc import Callable, Sequence
import re

import numpy as np

from datachef_jax.scoring import answers
from datachef_jax.serving.client import Client
from datachef_jax.sampling.request import Sampling
from datachef_jax.types import Completion
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges import grade as grades
from datachef_jax.verifier.judges.grade import Grade
from datachef_jax.verifier.judges.grade import Item
from datachef_jax.verifier.judges.prompting import Prompter

_TRIES = 2
_IN_BOX = re.compile(r"\s*(?:\\text\{)?\(?([A-E])(?![A-Za-z])")


class ReasoningJudge(grades.Judge):
    """Grades rows by what it writes about them; an unreadable reply is asked anew."""

    def __init__(self, client: Client, prompter: Prompter, *, sampling: Sampling):
        """Puts the judge together.

        Args:
          client: Of the judge's model.
          prompter: Makes its prompts, of the full style.
          sampling: How replies are drawn, and how long they may be.

        Raises:
          ValueError: If the style is compact.
        """
        if prompter.style.name != "full":
            raise ValueError(
                f"a judge that reasons needs the style 'full', got "
                f"{prompter.style.name!r}: a compact prompt knows no rubric"
            )
        self._client = client
        self._prompter = prompter
        self._sampling = sampling

    def grade(
        self,
        items: Sequence[Item],
        seeds: Sequence[int],
        *,
        progress: Callable[[int], None],
    ) -> list[Grade]:
        """See `Judge`. Equal rows of unequal seeds are read anew: replies differ."""
        prompts = self._prompter.prompts(items, rubric.reasoned)
        letters = [""] * len(items)
        left = list(range(len(items)))
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1

            def ready(place: int, completion: Completion, asked=tuple(left)) -> None:
                row = asked[place]
                letters[row] = read(self._prompter.tokenizer.decode(completion.tokens))
                if letters[row] or last:
                    progress(1)

            self._client.generate(
                [prompts[row] for row in left],
                group_size=1,
                seeds=np.array([_seed(seeds[row], attempt) for row in left], np.uint32),
                sampling=self._sampling,
                ready=ready,
            )
            left = [row for row in left if not letters[row]]
        return [_grade(letter) for letter in letters]


def read(reply: str) -> str:
    r"""Returns the grade in the last box of a reply, "" if there is none.

    The reason may stand in the box as well: `\boxed{C: 7 + 5 is 12}`.
    """
    boxed = answers.extract(reply, "boxed")
    match = _IN_BOX.match(boxed) if boxed else None
    return match.group(1) if match else ""


def _seed(seed: int, attempt: int) -> int:
    return int(np.random.SeedSequence((seed, attempt)).generate_state(1)[0])


def _grade(letter: str) -> Grade:
    if not letter:
        return grades.unreadable(0.0)
    probabilities = tuple(float(letter == known) for known in grades.LETTERS)
    return Grade(
        probabilities=probabilities,
        mass=1.0,
        score=rubric.SCORES[letter],
        letter=letter,
    )
