"""Benchmark scores: greedy answers, read by the task's contract and compared."""

import dataclasses

import numpy as np

from datachef_jax import types
from datachef_jax.sampling.request import Sampling
from datachef_jax.scoring import answers
from datachef_jax.serving.client import Client
from datachef_jax.text.tokenizer import ChatTokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered to one question.

    Attributes:
      text: All that it wrote.
      extracted: The answer in it, None if the contract finds none.
      correct: Whether that equals the reference.
    """

    text: str
    extracted: str | None
    correct: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """How a model did on a benchmark.

    Attributes:
      accuracy: Share of correct answers, in [0, 1].
      answers: One for each of the task's examples, in their order.
    """

    accuracy: float
    answers: tuple[Answer, ...]


def evaluate(
    client: Client,
    tokenizer: ChatTokenizer,
    task: types.Task,
    *,
    max_new_tokens: int,
) -> Score:
    """Asks a model all questions of a benchmark.

    The prompt is the bare question as the only user turn, as in training rows.

    Args:
      client: Of the model to be scored.
      tokenizer: The model's.
      task: Whose examples, contract and metric are used.
      max_new_tokens: Where answers are cut.

    Raises:
      ValueError: If the task has no examples, or a question is longer than what the
        engine takes.
    """
    if not task.examples:
        raise ValueError(f"task {task.name} has no examples to evaluate on")
    completions = client.generate(
        [_prompt(example.question, tokenizer) for example in task.examples],
        group_size=1,
        seeds=np.zeros(len(task.examples), np.uint32),  # greedy: no noise is drawn
        sampling=Sampling(temperature=0.0, max_new_tokens=max_new_tokens),
    )
    graded = tuple(
        grade(tokenizer.decode(completion.tokens), example.answer, task)
        for completion, example in zip(completions, task.examples, strict=True)
    )
    return Score(
        accuracy=sum(answer.correct for answer in graded) / len(graded), answers=graded
    )


def grade(text: str, reference: str, task: types.Task) -> Answer:
    """Reads the answer in a text by the task's contract and compares it."""
    extracted = answers.extract(text, task.contract)
    correct = extracted is not None and answers.equal(extracted, reference, task.metric)
    return Answer(text=text, extracted=extracted, correct=correct)


def _prompt(question: str, tokenizer: ChatTokenizer) -> list[int]:
    message = {"role": "user", "content": question}
    return tokenizer.chat([message], generation_prompt=True)
