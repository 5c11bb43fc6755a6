"""Random schedules: everything finishes, nothing leaks, nobody notices the others."""

import dataclasses
import itertools
import os
import pathlib
import subprocess
import sys

from flax import nnx
import numpy as np
import pytest
import tqdm

from datachef_jax.sampling import engine
from datachef_jax.sampling import state
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from tests import conftest  # noqa: F401  as strict where it is run by itself
from tests.models.qwen3 import tiny

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_END = 2
# Of the 16 rows two may want more pages than there are.
_SIZES = state.Sizes(
    rows=16,
    prompts=16,
    group=4,
    pages=24,
    page_size=16,
    max_prompt=120,
    max_new_tokens=100,
    read_tokens=64,
    read_prompts=4,
    reads=2,
    stop_ids=2,
    candidates=3,
    grammars=2,
    grammar_states=8,
    grammar_classes=4,
)


def make_weights():
    """Returns a model's graphdef and its weights in two versions."""
    graphdef, first = nnx.split(tiny.make(), nnx.Param)
    _, second = nnx.split(tiny.make(seed=1), nnx.Param)
    return graphdef, (first, second)


weights = pytest.fixture(scope="module")(make_weights)


def _engine(graphdef):
    return engine.Engine(graphdef, tiny.CONFIG, tiny.COMPUTE, _SIZES, end_id=_END)


def _request(rng, beginnings):
    """Draws a request; some begin like others."""
    begin = beginnings[rng.integers(len(beginnings))][: rng.integers(0, 80)]
    own = rng.integers(3, 64, rng.integers(1, 40)).tolist()
    count = int(rng.integers(0, 7))
    candidates = (5, 9, 60)[: rng.integers(0 if count else 1, 4)]
    sampling = Sampling(
        max_new_tokens=int(rng.integers(1, rng.choice([6, 30, 101]))),
        temperature=float(rng.choice([0.0, 0.7, 1.0, 2.0])),
        top_k=int(rng.choice([0, 0, 5])),
        top_p=float(rng.choice([1.0, 1.0, 0.8])),
        min_p=float(rng.choice([0.0, 0.0, 0.3])),
        stop_ids=(int(rng.integers(3, 64)),) * int(rng.integers(0, 2)),
    )
    return Request(
        prompt=(*begin, *own),
        seeds=tuple(rng.integers(0, 2**32, count).tolist()),
        sampling=sampling if count else None,
        candidates=tuple(candidates),
        prompt_logprobs=bool(rng.random() < 0.2),
        priority=int(rng.integers(0, 3)),
    )


def _alone(graphdef, params, request, sample, versions):
    """Returns one completion of a request alone, with given versions of the weights."""
    made = _engine(graphdef)
    seed = request.seeds[sample]
    alone = dataclasses.replace(
        request, seeds=(seed,), candidates=(), prompt_logprobs=False
    )
    made.submit(alone)
    wanted = 0
    for version, same in itertools.groupby(versions):
        wanted += len(list(same))
        while (decoded := made.statistics()["decoded"]) < wanted:
            weights, rounds = params[version % 2], wanted - decoded
            parts = made.step(weights, version=version, most_rounds=rounds)
            if parts:
                return parts[0].completion
    return made.drafts([0])[0].completion


def _due(request):
    """Returns all that is to come of a request: completions, and None for scores."""
    return [*range(len(request.seeds)), *([None] if request.scored else [])]


def _cancel(made, rng, number, request):
    """Cancels a request or a completion; returns what, and what there was of it."""
    sample = rng.choice([*range(len(request.seeds)), -1])
    gone = {*_due(request)} if sample < 0 else {int(sample)}
    drafts = [draft for draft in made.drafts([number]) if draft.sample in gone]
    made.cancel(number, None if sample < 0 else int(sample))
    return {(number, each) for each in gone}, drafts


def _schedule(weights, made, rng, version):
    """Runs a few requests with interruptions; returns what they were and gave."""
    _, params = weights
    beginnings = [rng.integers(3, 64, 80).tolist() for _ in range(2)]
    asked, parts, cancelled, drafts = {}, {}, set(), {}
    coming = [_request(rng, beginnings) for _ in range(rng.integers(1, 12))]
    while coming or made.busy:
        for _ in range(rng.integers(0, 4)):
            if coming:
                request = coming.pop()
                asked[made.submit(request)] = request
        if asked and rng.random() < 0.2:
            number = int(rng.choice(list(asked)))
            gone, some = _cancel(made, rng, number, asked[number])
            cancelled |= gone - set(parts)
            drafts.update({(number, draft.sample): draft for draft in some})
        version += int(rng.random() < 0.1)
        steps = dict(
            most_rounds=int(rng.integers(1, 40)), enough=int(rng.integers(1, 9))
        )
        for part in made.step(params[version % 2], version=version, **steps):
            assert (part.request, part.sample) not in cancelled | set(parts)
            parts[part.request, part.sample] = part
    made.step(params[version % 2], version=version)  # for what was cancelled last
    assert not made.held().any()
    everything = {(n, sample) for n, one in asked.items() for sample in _due(one)}
    assert set(parts) == everything - cancelled
    return asked, {**parts, **drafts}, version


def _check(weights, asked, parts, rng, most):
    graphdef, params = weights
    some = [key for key, part in parts.items() if part.completion is not None]
    for at in rng.permutation(len(some))[:most]:
        number, sample = some[at]
        got = parts[number, sample].completion
        if got.tokens:
            alone = _alone(graphdef, params, asked[number], sample, got.versions)
            assert alone.tokens == got.tokens and alone.logprobs == got.logprobs


def _statistics_of(count, weights, *, seed):
    """Checks so many schedules; returns the statistics of their engine."""
    rng, version = np.random.default_rng(seed), 0
    made = _engine(weights[0])
    for _ in tqdm.trange(count, unit="schedule"):
        asked, parts, version = _schedule(weights, made, rng, version)
        _check(weights, asked, parts, rng, 1)
    return made.statistics()


def test_requests_of_random_schedules_finish_as_if_alone(weights):
    found = _statistics_of(40, weights, seed=0)
    assert found["preempted"] > 10 and found["found"] > 1000


@pytest.mark.slow(minutes=3)
def test_requests_of_thousands_of_random_schedules_finish_as_if_alone():
    # In a process of its own, which compiles as users do: with all optimisation.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-m", "tests.sampling.test_schedules", "2000"]
    subprocess.run(command, cwd=_ROOT, env=environment, check=True)


if __name__ == "__main__":
    print(_statistics_of(int(sys.argv[1]), make_weights(), seed=1))
