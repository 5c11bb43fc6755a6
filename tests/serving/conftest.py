"""A tiny model that writes bytes, its engine and clients, compiled once."""

import dataclasses

from flax import nnx
import pytest

from datachef_jax.sampling import engine
from datachef_jax.sampling import request
from datachef_jax.sampling import state
from datachef_jax.serving import lane
from datachef_jax.serving import scheduler
from tests import tiny
from tests.models.qwen3 import tiny as tiny_qwen3

SIZES = state.Sizes(
    rows=8,
    prompts=8,
    group=4,
    pages=96,
    page_size=16,
    max_prompt=160,
    max_new_tokens=32,
    read_tokens=64,
    read_prompts=4,
    reads=2,
    stop_ids=2,
    candidates=8,
    grammars=1,
    grammar_states=64,
    grammar_classes=64,
)


@pytest.fixture(scope="session")
def words():
    """Returns a tokenizer of bytes."""
    return tiny.byte_tokenizer()


@pytest.fixture(scope="session")
def pieces(words):
    """Returns what each token adds to a text."""
    return words.pieces()


@pytest.fixture(scope="session")
def models(words):
    """Returns the graphdef and two sets of weights of a model that writes bytes."""
    config = dataclasses.replace(tiny_qwen3.CONFIG, vocab_size=words.vocab_size)
    graphdef, first = nnx.split(tiny_qwen3.make(config), nnx.Param)
    second = nnx.split(tiny_qwen3.make(config, seed=1), nnx.Param)[1]
    return graphdef, config, first, second


@pytest.fixture(scope="session")
def make_engine(models, words):
    """Returns a function that makes engines, which share their compiled program."""
    graphdef, config, params, _ = models

    def make():
        return engine.Engine(
            graphdef, config, tiny_qwen3.COMPUTE, SIZES, end_id=words.end_id
        )

    made = make()  # compiles it, which no deadline of a test is to count
    made.submit(request.Request(prompt=(5,), candidates=(7,)))
    made.step(params)
    return make


@pytest.fixture
def start(models, make_engine, pieces):
    """Returns a function that starts a scheduler with engines of these names."""
    started = []

    def make(*names, rounds=4, drafted_rounds=4, patience=1e9, most_requests=64):
        slices = lane.Slices(rounds=rounds, drafted_rounds=drafted_rounds)
        made = scheduler.Scheduler(
            slices=slices, patience=patience, most_requests=most_requests
        )
        started.append(made)
        for name in names or ("model",):
            made.add(name, make_engine(), models[2], pieces=pieces)
        return made

    yield make
    for made in started:
        made.close()
