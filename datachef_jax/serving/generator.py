"""Answers the LLM calls of recipes, many callers' requests in one batch."""

from collections.abc import Sequence
import hashlib
import threading
from typing import NamedTuple

import numpy as np

from datachef_jax.sampling.request import Sampling
from datachef_jax.serving.client import Client
from datachef_jax.text.tokenizer import ChatTokenizer

Chat = Sequence[dict[str, str]]
"""Messages, `{"role": ..., "content": ...}`."""


class Answer(NamedTuple):
    """What the model answers, and how many tokens it wrote for that."""

    text: str
    tokens: int


_NOTHING = Answer("", 0)


class Generator:
    """A model that answers chats; equal chats get equal answers, whoever asks when.

    Attributes:
      too_long: Requests so far that did not fit the engine and got no answer.
    """

    def __init__(
        self,
        client: Client,
        tokenizer: ChatTokenizer,
        *,
        max_prompt_tokens: int,
        max_new_tokens: int,
        temperature: float,
    ):
        """Puts the generator together.

        Args:
          client: Of the model.
          tokenizer: Its tokenizer.
          max_prompt_tokens: Longest chat, at most the engine's longest prompt.
          max_new_tokens: Longest answer.
          temperature: Of sampling; 0 takes the likeliest token.
        """
        self._client = client
        self._tokenizer = tokenizer
        self._max_prompt_tokens = max_prompt_tokens
        self._sampling = Sampling(
            max_new_tokens=max_new_tokens, temperature=temperature
        )
        self._answers: dict[bytes, Answer] = {}
        self._lock = threading.Lock()  # tokenizers are not for several threads
        self.too_long = 0

    def answer(self, batch: Sequence[Chat]) -> list[Answer]:
        """Returns one answer for each chat; for any number of threads.

        An answer follows from its chat alone: the noise of sampling is seeded by the
        chat's tokens, and an answer once given is remembered. A chat of more than
        `max_prompt_tokens` is answered with "", as recipes must expect of any call,
        and is counted in `too_long`.

        Args:
          batch: What is asked, in any order.
        """
        with self._lock:
            prompts = [
                self._tokenizer.chat(chat, generation_prompt=True) for chat in batch
            ]
            fitting = [p for p in prompts if len(p) <= self._max_prompt_tokens]
            self.too_long += len(prompts) - len(fitting)
            asked = {_digest(prompt): prompt for prompt in fitting}
            new = {d: p for d, p in asked.items() if d not in self._answers}
        self._generate(new)
        return [self._answers.get(_digest(prompt), _NOTHING) for prompt in prompts]

    def _generate(self, prompts: dict[bytes, list[int]]) -> None:
        """Answers prompts, given by digest."""
        completions = self._client.generate(
            list(prompts.values()),
            group_size=1,
            seeds=np.array([_seed(digest) for digest in prompts], np.uint32),
            sampling=self._sampling,
        )
        with self._lock:
            for digest, completion in zip(prompts, completions, strict=True):
                text = self._tokenizer.decode(completion.tokens)
                self._answers[digest] = Answer(text, len(completion.tokens))


def _digest(prompt: list[int]) -> bytes:
    return hashlib.sha256(np.array(prompt, np.int32).tobytes()).digest()


def _seed(digest: bytes) -> int:
    return int.from_bytes(digest[:4], "little")
