"""The judge: a language model that grades rows with the first token of its reply."""

import collections
from collections.abc import Callable, Iterable, Sequence
import dataclasses

from flax import nnx
import grain
from jaxtyping import Float
import numpy as np

from datachef_jax import types
from datachef_jax.sampling.engine import Engine
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier import rubric

Item = tuple[types.Task, str, str]
"""(task, question, answer)."""

_Key = tuple[str, str, str]  # (task's name, question, answer)

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
    """Grades rows, many at a time, in one forward pass each."""

    def __init__(
        self,
        engine: Engine,
        params: nnx.State,
        tokenizer: ChatTokenizer,
        *,
        style: rubric.RubricStyle,
        min_mass: float,
        max_prompt_tokens: int,
        rows: int,
    ):
        """Finds the grades' tokens.

        Args:
          engine: Runs the judge's model.
          params: Its weights.
          tokenizer: Its tokenizer.
          style: Of the prompt.
          min_mass: A verdict is unreadable if the judge gives all grades together
            less probability than this, in [0, 1].
          max_prompt_tokens: Longest prompt, at most the engine's largest bucket.
          rows: Prompts scored at a time: those of the engine's batches.

        Raises:
          ValueError: If a grade is not a single token.
        """
        self._engine = engine
        self._params = params
        self._tokenizer = tokenizer
        self._style = style
        self._min_mass = min_mass
        self._max_prompt_tokens = max_prompt_tokens
        self._rows = rows
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
        logprobs: dict[_Key, Float[np.ndarray, " grades"]] = {}
        for batch in self._batches(dict(zip(keys, items, strict=True))):
            prompts = [prompt for _, prompt in batch]
            scored = self._engine.score(self._params, prompts, self._candidates)
            logprobs.update(zip([key for key, _ in batch], scored, strict=True))
            progress(sum(copies[key] for key, _ in batch))
        return [
            _grade(logprobs[key], seed=seed, min_mass=self._min_mass)
            for key, seed in zip(keys, seeds, strict=True)
        ]

    def _batches(
        self, items: dict[_Key, Item]
    ) -> Iterable[list[tuple[_Key, list[int]]]]:
        """Renders and tokenises, then batches the prompts by length.

        Sorted by length, prompts of one bucket of the engine follow one another, so
        that few of its batches are partly empty.
        """
        if not items:  # Grain takes no empty source
            return []
        prompts = (
            grain.MapDataset.source(list(items.items()))
            .map(lambda named: (named[0], self._prompt(*named[1])))
            .to_iter_dataset(_READING)
        )
        ordered = sorted(prompts, key=lambda named: len(named[1]))
        return grain.MapDataset.source(ordered).batch(self._rows, batch_fn=list)

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
