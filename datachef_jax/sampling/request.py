"""What the engine is asked, and what it answers."""

import dataclasses

from datachef_jax.sampling.grammar import Grammar
from datachef_jax.types import Completion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How completions of one request are drawn.

    Attributes:
      max_new_tokens: Where completions are cut.
      temperature: Divides the scores; 0 takes the likeliest token each time.
      top_k: Only the k likeliest tokens can be drawn; 0 for all.
      top_p: Only the likeliest tokens that together reach this probability.
      min_p: Only tokens at least this many times as likely as the likeliest one.
      stop_ids: Tokens that end a completion, beside the engine's own end token.
      grammar: What a completion must match as a whole, as made by `grammar.py`; None
        if anything goes.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    stop_ids: tuple[int, ...] = ()
    grammar: Grammar | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt, and the completions or scores that are wanted of it.

    Attributes:
      prompt: Token ids, at least one.
      seeds: One uint32 for each completion, which together share the prompt's prefill.
        None if only scores are wanted.
      sampling: How the completions are drawn.
      candidates: Tokens whose probabilities after the prompt are wanted.
      prompt_logprobs: Whether the probabilities of its own tokens are wanted.
      priority: Smaller goes first; among equals, who came first.
    """

    prompt: tuple[int, ...]
    seeds: tuple[int, ...] = ()
    sampling: Sampling | None = None
    candidates: tuple[int, ...] = ()
    prompt_logprobs: bool = False
    priority: int = 0

    @property
    def scored(self) -> bool:
        """Says whether scores are to come, beside completions."""
        return bool(self.candidates) or self.prompt_logprobs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """What was asked of a prompt itself, in natural logarithms.

    Attributes:
      candidates: How likely each candidate is after the prompt.
      prompt: How likely each of the prompt's tokens but the first is after those
        before it.
    """

    candidates: tuple[float, ...] = ()
    prompt: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Something of a request that has become ready.

    Attributes:
      request: Its number.
      sample: Which of its completions; None for its scores.
      completion: The completion, or None.
      scores: Its scores, or None.
      last: Whether nothing more of the request is to come.
    """

    request: int
    sample: int | None
    completion: Completion | None = None
    scores: Scores | None = None
    last: bool = False
