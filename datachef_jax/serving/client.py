"""What callers of a model need, wherever it runs."""

import abc
from collections.abc import Callable, Iterator, Sequence
import contextlib

from flax import nnx
from jaxtyping import Float
from jaxtyping import UInt32
import numpy as np

from datachef_jax.sampling.engine import Engine
from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.types import Completion


def ignore(*_) -> None:
    """Does nothing with what has become ready."""


@contextlib.contextmanager
def blame(place: int) -> Iterator[None]:
    """Names the request at this place in a ValueError of the body."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"prompt {place}: {error}") from error


class Client(abc.ABC):
    """A model that completes and scores prompts.

    All kinds of clients give the same answers to the same requests: `Direct`, in this
    thread; `Scheduler.client`, where one thread serves many; `Remote`, elsewhere.
    """

    @abc.abstractmethod
    def serve(self, requests: Sequence[Request]) -> Iterator[tuple[int, Part]]:
        """Yields the parts of requests as they become ready.

        Whoever stops asking for more gives up the rest.

        Args:
          requests: What is wanted.

        Yields:
          The place of a request among them, and a completion or its scores.

        Raises:
          ValueError: If a request can never be served; names its place.
        """

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        group_size: int,
        seeds: UInt32[np.ndarray, " completions"],
        sampling: Sampling | Sequence[Sampling],
        ready: Callable[[int, Completion], None] = ignore,
    ) -> list[Completion]:
        """Samples `group_size` completions of each prompt.

        Args:
          prompts: Token ids, at least one each.
          group_size: Completions of each prompt.
          seeds: One per completion.
          sampling: How they are drawn: all alike, or those of each prompt.
          ready: Told of each completion in this thread, as soon as it is there, with
            its place among the seeds.

        Returns:
          Completions in the order of the seeds, prompt-major.

        Raises:
          ValueError: If a prompt is empty or too long, or the numbers do not fit
            together.
        """
        if len(seeds) != len(prompts) * group_size:
            raise ValueError(
                f"{len(seeds)} seeds for {len(prompts)} x {group_size} completions"
            )
        if isinstance(sampling, Sampling):
            sampling = [sampling] * len(prompts)
        groups = seeds.reshape(len(prompts), group_size).tolist()
        requests = [
            Request(prompt=tuple(prompt), seeds=tuple(group), sampling=how)
            for prompt, group, how in zip(prompts, groups, sampling, strict=True)
        ]
        done: list[Completion | None] = [None] * len(seeds)
        for i, part in self.serve(requests):
            place = i * group_size + part.sample
            done[place] = part.completion
            ready(place, part.completion)
        return done

    def score(
        self,
        prompts: Sequence[Sequence[int]],
        candidates: Sequence[int],
        *,
        ready: Callable[[int], None] = ignore,
    ) -> Float[np.ndarray, "prompts candidates"]:
        """Returns how likely each candidate is to be the next token of each prompt.

        Args:
          prompts: Token ids, at least one each.
          candidates: Ids, the same for all prompts.
          ready: Told of each prompt that has been scored, in this thread.

        Returns:
          float32 natural-log probabilities over the full vocabulary.

        Raises:
          ValueError: If a prompt is empty or too long.
        """
        requests = [
            Request(prompt=tuple(prompt), candidates=tuple(candidates))
            for prompt in prompts
        ]
        scores = np.zeros((len(prompts), len(candidates)), np.float32)
        for i, part in self.serve(requests):
            scores[i] = part.scores.candidates
            ready(i)
        return scores

    def prompt_logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        ready: Callable[[int], None] = ignore,
    ) -> list[Float[np.ndarray, " following"]]:
        """Returns how likely each token of each prompt is after those before it.

        Args:
          prompts: Token ids, at least one each.
          ready: Told of each prompt that has been read, in this thread.

        Returns:
          float32 natural-log probabilities of all tokens of a prompt but its first,
          under the model's own distribution.

        Raises:
          ValueError: If a prompt is empty or too long.
        """
        requests = [
            Request(prompt=tuple(prompt), prompt_logprobs=True) for prompt in prompts
        ]
        read: list[np.ndarray] = [np.zeros(0, np.float32)] * len(prompts)
        for i, part in self.serve(requests):
            read[i] = np.asarray(part.scores.prompt, np.float32)
            ready(i)
        return read


class Direct(Client):
    """An engine and its weights, driven in the caller's thread, one call at a time.

    In a run of several processes all make the same calls, and so the same steps.
    """

    def __init__(self, engine: Engine, params: nnx.State, *, version: int):
        """Puts the two together.

        Args:
          engine: Runs the model; nobody else uses it during a call.
          params: The weights.
          version: Of the weights: different for different ones, or the engine would
            go on from what it has read with others.
        """
        self._engine = engine
        self._params = params
        self._version = version

    def serve(self, requests: Sequence[Request]) -> Iterator[tuple[int, Part]]:
        """See `Client`."""
        places: dict[int, int] = {}
        try:
            for i, request in enumerate(requests):
                with blame(i):
                    places[self._engine.submit(request)] = i
            while self._engine.busy:
                for part in self._engine.step(self._params, version=self._version):
                    yield places[part.request], part
        finally:
            for number in places:
                self._engine.cancel(number)
