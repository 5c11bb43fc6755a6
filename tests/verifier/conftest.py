"""A tiny real judge: random weights, the real engine, a byte tokenizer."""

import functools
import itertools

from flax import nnx
import pytest

from datachef_jax import types
from datachef_jax.serving import client
from datachef_jax.verifier import rubric
from datachef_jax.verifier.judges.expected import ExpectedJudge
from datachef_jax.verifier.judges.prompting import Prompter
from tests import engines
from tests import tiny


@pytest.fixture(scope="session")
def chat_tokenizer():
    """Returns a tokenizer of bytes."""
    return tiny.byte_tokenizer()


@pytest.fixture(scope="session")
def model(chat_tokenizer):
    """Returns two random layers."""
    return tiny.random_model(chat_tokenizer.vocab_size)


@pytest.fixture(scope="session")
def style():
    """Returns the style of the judge's prompts."""
    return rubric.RubricStyle(name="compact", max_chars=60)


@pytest.fixture(scope="session")
def make_judge(chat_tokenizer, model, style):
    """Returns a function that makes judges, all with one engine."""
    graphdef, params = nnx.split(model, nnx.Param)
    make_engine = functools.partial(
        engines.make,
        graphdef,
        params,
        end_id=chat_tokenizer.end_id,
        rows=0,
        max_prompt=256,
        max_new_tokens=0,
        candidates=5,
    )
    shared = make_engine()
    versions = itertools.count()

    def make(*, min_mass, params=params, tokenizer=chat_tokenizer, alone=False):
        engine = make_engine() if alone else shared
        return ExpectedJudge(
            client.Direct(engine, params, version=next(versions)),
            Prompter(tokenizer=tokenizer, style=style, max_prompt_tokens=256),
            min_mass=min_mass,
        )

    return make


@pytest.fixture(scope="session")
def task():
    """Returns a task whose benchmark holds one question."""
    return types.Task(
        name="sorting",
        domain="algorithmic",
        instruction='Sort three numbers. Answer as {"answer": "result"}.',
        benchmark="sorting-1",
        benchmark_description="One list, compared exactly.",
        contract="json",
        metric="exact_match",
        examples=(types.Example(question="sort up: 9 8 7", answer="7 8 9"),),
        sources=(),
    )
