"""A completion of several answers: what the policy wrote, and what it was told.

All of it is one stretch of tokens after the prompt, so that an engine goes on from the
keys and values that it has, and an update needs one row for each recipe. What the
policy was told is no choice of its own: `types.Completion.told` says where it stands.
"""

from collections.abc import Sequence

from datachef_jax import types
from datachef_jax.recipes.turns import Turns
from datachef_jax.text.tokenizer import ChatTokenizer


class Conversation:
    """The answers in which a policy writes its recipes.

    Attributes:
      max_new_tokens: Most tokens after the prompt, what it is told included.
    """

    def __init__(self, turns: Turns, tokenizer: ChatTokenizer, *, max_new_tokens: int):
        """Says nothing yet.

        Args:
          turns: How recipes come about.
          tokenizer: Of the policy.
          max_new_tokens: See above.

        Raises:
          ValueError: If what it is told first leaves no room for an answer.
        """
        self._turns, self._tokenizer = turns, tokenizer
        self.max_new_tokens = max_new_tokens
        if turns.apart and (needed := len(self._told(turns.scripts_request))) >= (
            max_new_tokens - 1
        ):
            raise ValueError(
                f"asking for scripts takes {needed} tokens of the {max_new_tokens} that"
                " may follow a prompt"
            )

    def spoken(self, completion: types.Completion) -> list[str]:
        """Returns what the policy wrote, was told, wrote and so on."""
        edges = [edge for stretch in completion.told for edge in stretch]
        edges = [0, *edges, len(completion.tokens)]
        return [
            self._tokenizer.decode(completion.tokens[start:end])
            for start, end in zip(edges, edges[1:], strict=False)
        ]

    def recipe(self, completion: types.Completion) -> str:
        """Returns the text of the recipe that it amounts to."""
        return self._turns.recipe(self.spoken(completion)[::2])

    def reply(
        self, completion: types.Completion, execution: types.Execution | None
    ) -> list[int]:
        """Returns the ids that the policy is told next, none if it has had its say.

        Args:
          completion: What has been said.
          execution: How its recipe ended; None if it has not been run.
        """
        if not completion.finished:
            return []
        text = self._turns.reply(self.spoken(completion)[::2], execution)
        told = self._told(text) if text else []
        return told if self.left(completion, told) > 0 else []

    def left(self, completion: types.Completion, told: Sequence[int]) -> int:
        """Returns how many tokens an answer may have after it is told something."""
        return self.max_new_tokens - len(completion.tokens) - len(told)

    def _told(self, text: str) -> list[int]:
        """Returns the ids between an answer's end token and the next answer."""
        chat = [{"role": "user", "content": text}]
        between = self._tokenizer.encode("\n")
        return between + self._tokenizer.chat(chat, generation_prompt=True)


def join(
    before: types.Completion, told: Sequence[int], answer: types.Completion
) -> types.Completion:
    """Returns a completion with what the policy was told after it, and its answer."""
    start, count = len(before.tokens), len(told)
    nothing = (0.0,) * count
    return types.Completion(
        tokens=(*before.tokens, *told, *answer.tokens),
        logprobs=before.logprobs + nothing + answer.logprobs,
        raw_logprobs=before.raw_logprobs + nothing + answer.raw_logprobs,
        versions=before.versions + answer.versions[:1] * count + answer.versions,
        ended=answer.ended,
        told=(*before.told, (start, start + count)),
    )
