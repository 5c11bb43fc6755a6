"""From rows to a judge's prompts: rendered, tokenised, and cut until they fit."""

from collections.abc import Callable, Sequence
import dataclasses

import grain

from datachef_jax import types
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges.grade import Item

Render = Callable[..., rubric.Chat]
"""(task, question, answer, style=...) -> the chat that asks about a row."""

_READING = grain.ReadOptions(num_threads=1, prefetch_buffer_size=64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompter:
    """Makes prompts.

    Attributes:
      tokenizer: Of the judge.
      style: Of its prompts.
      max_prompt_tokens: Longest prompt, at most the engine's longest.
    """

    tokenizer: ChatTokenizer
    style: rubric.RubricStyle
    max_prompt_tokens: int

    def token(self, reply: str) -> int:
        """Returns the token of a reply.

        Raises:
          ValueError: If it has several.
        """
        ids = self.tokenizer.encode(reply)
        if len(ids) != 1:
            raise ValueError(
                f"grade {reply!r} must be one token, the tokenizer has {ids}"
            )
        return ids[0]

    def prompts(self, items: Sequence[Item], render: Render) -> list[list[int]]:
        """Returns the prompt of each row as ids, through a pipeline of Grain.

        Raises:
          ValueError: If a task's own text does not leave room for a row.
        """
        if not items:  # Grain takes no empty source
            return []
        source = grain.MapDataset.source(items).map(
            lambda item: self._prompt(*item, render)
        )
        return list(source.to_iter_dataset(_READING))

    def _prompt(
        self, task: types.Task, question: str, answer: str, render: Render
    ) -> list[int]:
        style = self.style
        while True:
            chat = render(task, question, answer, style=style)
            prompt = self.tokenizer.chat(chat, generation_prompt=True)
            if len(prompt) <= self.max_prompt_tokens:
                return prompt
            if style.max_chars == 1:
                raise ValueError(
                    f"task {task.name}: its judge prompt has {len(prompt)} tokens "
                    f"with two letters of a row, max_prompt_tokens is "
                    f"{self.max_prompt_tokens}"
                )
            # Rare letters take several tokens each: characters do not bound tokens.
            style = dataclasses.replace(style, max_chars=style.max_chars // 2)
