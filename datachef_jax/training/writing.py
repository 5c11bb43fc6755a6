"""Recipes on their way: written, run and verified, each as soon as it can be."""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses

from jaxtyping import UInt32
import numpy as np

from datachef_jax import types
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving.client import Client
from datachef_jax.training import conversation
from datachef_jax.training import pipeline
from datachef_jax.training.metrics import Stopwatch

Seeds = UInt32[np.ndarray, " batch"]
Ready = Callable[[int, types.Completion], None]
Sampled = Callable[
    [int, Callable[[Ready], Sequence[types.Completion]], Ready],
    Sequence[types.Completion],
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Means:
    """What writes, runs and verifies; sequences have an entry for each recipe.

    Attributes:
      conversation: In how many answers.
      sample: (prompts, seeds, longest completion of each prompt, ready) -> as many
        completions of each prompt as there are seeds for it; each is told to `ready`
        with its place as soon as it is there.
      execute: (places, texts) -> how each recipe ended.
      verify: (places, executions) -> the opinion of each dataset.
      kept: (number of the answer, sample, ready) -> completions, maybe from before.
    """

    conversation: conversation.Conversation
    sample: Callable[
        [Sequence[Sequence[int]], Seeds, Sequence[int], Ready],
        Sequence[types.Completion],
    ]
    execute: Callable[[Sequence[int], Sequence[str]], Sequence[types.Execution]]
    verify: Callable[
        [Sequence[int], Sequence[types.Execution]], Sequence[types.Verdict]
    ]
    kept: Sampled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """What became of the recipes, an entry for each.

    Attributes:
      completions: All answers, and what was told between them.
      texts: The recipes.
      executions: How they ended.
      verdicts: What their datasets are worth.
    """

    completions: Sequence[types.Completion]
    texts: Sequence[str]
    executions: Sequence[types.Execution]
    verdicts: Sequence[types.Verdict]


def write(
    prompts: Sequence[Sequence[int]],
    seeds: Callable[[int], Seeds],
    means: Means,
    *,
    clock: Stopwatch,
    answered: Callable[[int], None] = lambda count: None,
) -> Written:
    """Has recipes written, run and verified.

    Whoever is told something answers when all have answered: the engine has full
    batches of them, and nobody's tokens depend on who was faster.

    Args:
      prompts: What the policy reads first.
      seeds: By the number of an answer, from 0: of every recipe, prompt-major.
      means: What does the work.
      clock: Gets the seconds of "sample", "execute" and "verify".
      answered: Called with 1 for each first answer.
    """
    first = seeds(0)
    group = len(first) // len(prompts)
    outcomes = _Outcomes(means, len(first), clock)
    limits = [means.conversation.max_new_tokens] * len(prompts)

    def follow(place: int, completion: types.Completion) -> None:
        answered(1)
        outcomes.follow(place, completion)

    with outcomes:
        with clock("sample"):
            means.kept(
                0, lambda ready: means.sample(prompts, first, limits, ready), follow
            )
        number = 0
        while told := outcomes.told():
            number += 1
            with clock("sample"):
                _answer(prompts, group, seeds(number), told, number, means, outcomes)
    return Written(
        completions=outcomes.completions,
        texts=outcomes.texts,
        executions=outcomes.executions,
        verdicts=outcomes.verdicts,
    )


def _answer(
    prompts: Sequence[Sequence[int]],
    group: int,
    seeds: Seeds,
    told: dict[int, list[int]],
    number: int,
    means: Means,
    outcomes: "_Outcomes",
) -> None:
    """Has those answer that were told something."""
    places = sorted(told)
    before = {place: outcomes.completions[place] for place in places}
    asked = [
        [*prompts[place // group], *before[place].tokens, *told[place]]
        for place in places
    ]
    limits = [means.conversation.left(before[p], told[p]) for p in places]

    def follow(i: int, answer: types.Completion) -> None:
        place = places[i]
        outcomes.follow(place, conversation.join(before[place], told[place], answer))

    means.kept(
        number,
        lambda ready: means.sample(asked, seeds[places], limits, ready),
        follow,
    )


class _Outcomes(contextlib.ExitStack):
    """What becomes of completions, each as soon as it is there; all of them at its end.

    Attributes:
      completions: By place, as are the others.
      texts: The recipes that they amount to.
      executions: How each recipe ended.
      verdicts: What its dataset is worth.
    """

    def __init__(self, means: Means, count: int, clock: Stopwatch):
        """Begins without completions; see `write` for the arguments."""
        super().__init__()
        self.completions: list[types.Completion | None] = [None] * count
        self.texts: list[str] = [""] * count
        self.executions: list[types.Execution | None] = [None] * count
        self.verdicts: list[types.Verdict | None] = [None] * count
        self._means, self._clock = means, clock
        self._told: dict[int, list[int]] = {}
        self._verifying = self.enter_context(pipeline.Stage("verify", self._verify))
        self._executing = self.enter_context(pipeline.Stage("execute", self._execute))

    def follow(self, place: int, completion: types.Completion) -> None:
        """Takes a completion that has ended."""
        self.completions[place] = completion
        self.texts[place] = self._means.conversation.recipe(completion)
        self._executing.add([place])

    def told(self) -> dict[int, list[int]]:
        """Returns what policies are told next, by place, when all have been run."""
        self._executing.wait()
        told, self._told = self._told, {}
        return told

    def _reply(self, place: int, execution: types.Execution | None) -> bool:
        """Says whether a policy is told something."""
        told = self._means.conversation.reply(self.completions[place], execution)
        if told:
            self._told[place] = told
        return bool(told)

    def _execute(self, places: Sequence[int]) -> None:
        chosen = [place for place in places if not self._reply(place, None)]
        if not chosen:
            return
        with self._clock("execute"):
            done = self._means.execute(chosen, [self.texts[i] for i in chosen])
        for place, execution in zip(chosen, done, strict=True):
            self.executions[place] = execution
        if final := [i for i in chosen if not self._reply(i, self.executions[i])]:
            self._verifying.add(final)

    def _verify(self, places: Sequence[int]) -> None:
        with self._clock("verify"):
            chosen = [self.executions[place] for place in places]
            done = self._means.verify(places, chosen)
        for place, verdict in zip(places, done, strict=True):
            self.verdicts[place] = verdict


def sample(
    client: Client,
    prompts: Sequence[Sequence[int]],
    seeds: Seeds,
    limits: Sequence[int],
    ready: Ready,
    *,
    temperature: float,
) -> Sequence[types.Completion]:
    """Samples from a client; see `Means.sample`."""
    return client.generate(
        prompts,
        seeds=seeds,
        group_size=len(seeds) // len(prompts),
        sampling=[
            Sampling(temperature=temperature, max_new_tokens=limit) for limit in limits
        ],
        ready=ready,
    )


def nothing_kept(
    number: int,
    sample: Callable[[Ready], Sequence[types.Completion]],
    ready: Ready,
) -> Sequence[types.Completion]:
    """Samples afresh: for whoever keeps nothing but the end; see `Means.kept`."""
    return sample(ready)
