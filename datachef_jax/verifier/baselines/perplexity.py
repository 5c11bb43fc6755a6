"""Perplexity: how much a model is surprised by the answers of a dataset.

A row is read as the chat that fine-tuning makes of it, and the answer's tokens are
those that fine-tuning learns: its text and its end token. So an empty answer has a
perplexity, too.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
import numpy as np

from datachef_jax.serving.client import Client
from datachef_jax.text.tokenizer import ChatTokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is read of a row: something before the answer, then the answer.

    Attributes:
      tokens: Ids of both.
      answer: How many of the last of them are the answer's; 0 if the cut left none.
      cut: Whether the row was too long and lost its end.
    """

    tokens: tuple[int, ...]
    answer: int
    cut: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surprise:
    """What a model thinks of the answers of a dataset.

    Attributes:
      nll: Mean nats per answer token of each row, float64; NaN where the question
        alone is longer than what is read.
      cut: How many rows were too long.
    """

    nll: Float[np.ndarray, " rows"]
    cut: int

    @property
    def score(self) -> float:
        """Returns e to the mean over the rows: the geometric mean of perplexities.

        Each row counts alike, however long it is, and a single absurd one does not
        outweigh the rest. NaN if there is no row.
        """
        read = self.nll[~np.isnan(self.nll)]
        return float(np.exp(read.mean())) if read.size else float("nan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity:
    """Measures datasets by the perplexity of their answers given their questions.

    Attributes:
      client: Of the model.
      tokenizer: Its tokenizer.
      max_tokens: Of a row, at most the client's longest prompt. Longer rows lose
        their end; those that lose all of their answer are not counted.
    """

    client: Client
    tokenizer: ChatTokenizer
    max_tokens: int

    def __post_init__(self):
        check_max_tokens(self.tokenizer, self.max_tokens)

    def rate(self, pairs: Sequence[tuple[str, str]]) -> Surprise:
        """Reads rows, given as question and answer."""
        prompts = [conditional(self.tokenizer, *p, self.max_tokens) for p in pairs]
        return Surprise(
            nll=mean_nll(self.client, prompts), cut=sum(p.cut for p in prompts)
        )

    def measure(self, pairs: Sequence[tuple[str, str]]) -> float:
        """Returns the perplexity of a dataset; see `Surprise.score`."""
        return self.rate(pairs).score


def check_max_tokens(tokenizer: ChatTokenizer, max_tokens: int) -> None:
    """Makes sure that a row without any text has room.

    Raises:
      ValueError: If not.
    """
    least = len(conditional(tokenizer, "", "", 2**30).tokens)
    if max_tokens < least:
        raise ValueError(f"max_tokens must be at least {least}, got {max_tokens}")


def conditional(
    tokenizer: ChatTokenizer, question: str, answer: str, max_tokens: int
) -> Prompt:
    """Returns a row with its question, cut at its end to `max_tokens` tokens."""
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    tokens, start = _up_to_the_answer(tokenizer, messages)
    kept = tokens[:max_tokens]
    return Prompt(
        tokens=tuple(kept),
        answer=max(len(kept) - start, 0),
        cut=len(tokens) > max_tokens,
    )


def alone(tokenizer: ChatTokenizer, answer: str, length: int) -> Prompt:
    """Returns the first `length` tokens of an answer that nobody has asked for."""
    messages = [{"role": "assistant", "content": answer}]
    tokens, start = _up_to_the_answer(tokenizer, messages)
    kept = tokens[: start + length]
    return Prompt(tokens=tuple(kept), answer=length, cut=len(kept) < len(tokens))


def mean_nll(client: Client, prompts: Sequence[Prompt]) -> Float[np.ndarray, " rows"]:
    """Returns the mean negative log-likelihood of each answer, in nats per token.

    Equal prompts are read once.

    Returns:
      float64; NaN where there is no token of an answer.
    """
    wanted = list(dict.fromkeys(prompt for prompt in prompts if prompt.answer))
    read = client.prompt_logprobs([prompt.tokens for prompt in wanted])
    found = {
        prompt: -logprobs[-prompt.answer :].astype(np.float64).mean()
        for prompt, logprobs in zip(wanted, read, strict=True)
    }
    return np.array([found.get(prompt, np.nan) for prompt in prompts], np.float64)


def _up_to_the_answer(
    tokenizer: ChatTokenizer, messages: Sequence[dict[str, str]]
) -> tuple[list[int], int]:
    """Returns a chat up to the end of its last turn's text, and where that begins."""
    ids, learned = tokenizer.chat_with_mask(messages)
    end = len(learned) - learned[::-1].index(True)
    return ids[:end], learned.index(True)
