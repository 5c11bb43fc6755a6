"""The judge: a language model that grades rows with the first token of its reply."""

import collections
from collections.abc import Callable, Sequence
import dataclasses

import grain
from jaxtyping import Float
import numpy as np

from datachef_jax import types
from datachef_jax.serving.client import Client
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier import rubric

Item = tuple[types.Task, str, str]
"""(task, question, answer)."""

_LETTERS = tuple(rubric.SCORES)
_SCORES = np.array(list(rubric.SCORES.values()))
_READING = grain.ReadOptions(num_threads=1, prefetch_buffer_size=64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grade:
    """The judge's opinion of one row.

    Attributes:
      probabilities: Of A to E, given that the reply is a grade: they sum to 1, or are
        all 0 if the verdict is unreadable.
      mass: Probability, in [0, 1], that the reply begins with any grade.
      score: Expected score in [0, 1]; 0 if unreadable.
      letter: A grade drawn from the probabilities; "" if unreadable.
    """

    probabilities: tuple[float, ...]
    mass: float
    score: float
    letter: str


class Judge:
    """Grades rows, all at once, in one forward pass each."""

    def __init__(
        self,
        client: Client,
        tokenizer: ChatTokenizer,
        *,
        style: rubric.RubricStyle,
        min_mass: float,
        max_prompt_tokens: int,
    ):
        """Finds the grades' tokens.

        Args:
          client: Of the judge's model.
          tokenizer: Its tokenizer.
          style: Of the prompt.
          min_mass: A verdict is unreadable if the judge gives all grades together
            less probability than this, in [0, 1].
          max_prompt_tokens: Longest prompt, at most the engine's longest.

        Raises:
          ValueError: If a grade is not a single token.
        """
        self._client = client
        self._tokenizer = tokenizer
        self._style = style
        self._min_mass = min_mass
        self._max_prompt_tokens = max_prompt_tokens
        self._candidates = [_single_token(tokenizer, letter) for letter in _LETTERS]

    def grade(
        self,
        items: Sequence[Item],
        seeds: Sequence[int],
        *,
        progress: Callable[[int], None],
    ) -> list[Grade]:
        """Grades rows; a row's grade depends on the row and its seed alone.

        Equal rows are read once. Rows of too many tokens lose more of their middle
        than the style says.

        Args:
          items: What to grade.
          seeds: One for each, from which its letter is drawn; at least 0.
          progress: Called with the number of rows graded since the last call.

        Returns:
          One grade for each item.

        Raises:
          ValueError: If a task's own text does not leave room for a row.
        """
        keys = [(task.name, question, answer) for task, question, answer in items]
        copies = collections.Counter(keys)
        read = dict(zip(keys, items, strict=True))
        names = list(read)
        scored = self._client.score(
            self._prompts(list(read.values())),
            self._candidates,
            ready=lambda i: progress(copies[names[i]]),
        )
        logprobs = dict(zip(names, scored, strict=True))
        return [
            _grade(logprobs[key], seed=seed, min_mass=self._min_mass)
            for key, seed in zip(keys, seeds, strict=True)
        ]

    def _prompts(self, items: Sequence[Item]) -> list[list[int]]:
        """Renders and tokenises."""
        if not items:  # Grain takes no empty source
            return []
        source = grain.MapDataset.source(items).map(lambda item: self._prompt(*item))
        return list(source.to_iter_dataset(_READING))

    def _prompt(self, task: types.Task, question: str, answer: str) -> list[int]:
        """Renders a row into tokens that fit."""
        style = self._style
        while True:
            chat = rubric.messages(task, question, answer, style=style)
            prompt = self._tokenizer.chat(chat, generation_prompt=True)
            if len(prompt) <= self._max_prompt_tokens:
                return prompt
            if style.max_chars == 1:
                raise ValueError(
                    f"task {task.name}: its judge prompt has {len(prompt)} tokens "
                    f"with two letters of a row, max_prompt_tokens is "
                    f"{self._max_prompt_tokens}"
                )
            # Rare letters take several tokens each: characters do not bound tokens.
            style = dataclasses.replace(style, max_chars=style.max_chars // 2)


def _single_token(tokenizer: ChatTokenizer, letter: str) -> int:
    ids = tokenizer.encode(letter)
    if len(ids) != 1:
        raise ValueError(f"grade {letter!r} must be one token, the tokenizer has {ids}")
    return ids[0]


def _grade(
    logprobs: Float[np.ndarray, " grades"], *, seed: int, min_mass: float
) -> Grade:
    """Turns natural-log probabilities of the grades' tokens into a grade."""
    likely = np.exp(logprobs.astype(np.float64))
    mass = float(likely.sum())
    if not mass >= min_mass or mass == 0.0:  # also where a broken judge says NaN
        nothing = (0.0,) * len(_LETTERS)
        return Grade(probabilities=nothing, mass=mass, score=0.0, letter="")
    probabilities = likely / mass
    drawn = np.random.default_rng(seed).choice(len(_LETTERS), p=probabilities)
    return Grade(
        probabilities=tuple(probabilities.tolist()),
        mass=mass,
        score=float(np.clip(probabilities @ _SCORES, 0.0, 1.0)),
        letter=_LETTERS[drawn],
    )
