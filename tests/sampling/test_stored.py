"""Tests for an engine whose weights, keys and values are stored in fewer bits."""

from flax import nnx
import jax
import numpy as np
import pytest

from datachef_jax.models.qwen3.quantize import Stored
from datachef_jax.sampling import engine
from datachef_jax.sampling import sizing
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving import client
from tests.models.qwen3 import tiny

_STEPS = 16
_PROMPTS = [list(range(5, 35)), list(range(40, 43))]
_BIG = dict(rows=4, group=4, max_prompt=32, max_new_tokens=_STEPS, read_tokens=32)


def _client(model, made, version):
    return client.Direct(made, nnx.split(model, nnx.Param)[1], version=version)


def _engine(stored):
    sizes = sizing.plan(
        tiny.CONFIG,
        stored.pages_dtype("float32"),
        page_size=16,
        free_bytes=2**30,
        **_BIG,
    )
    graphdef = nnx.split(tiny.make(), nnx.Param)[0]
    return engine.Engine(
        graphdef, tiny.CONFIG, tiny.COMPUTE, sizes, end_id=2, stored=stored
    )


def _changes(model, made, version):
    """Returns completions, and how far log-probabilities are from `model`'s own."""
    done = _client(model, made, version).generate(
        _PROMPTS,
        group_size=2,
        seeds=np.arange(4, dtype=np.uint32),
        sampling=Sampling(max_new_tokens=_STEPS, temperature=1.0),
    )
    changes = []
    for i, completion in enumerate(done):
        prompt, row = _PROMPTS[i // 2], np.zeros((1, 64), np.int32)
        text = [*prompt, *completion.tokens]
        row[0, : len(text)] = text
        scores = jax.nn.log_softmax(tiny.logits(model, row)[0])
        at = np.arange(len(prompt) - 1, len(text) - 1)
        expected = scores[at, list(completion.tokens)]
        changes.append(np.array(completion.logprobs) - expected)
    return done, np.abs(np.concatenate(changes))


@pytest.mark.parametrize(("weights", "pages"), [("int8", "int8"), ("same", "float8")])
def test_log_probabilities_change_a_little(weights, pages):
    made = _engine(Stored(weights=weights, pages=pages))
    first, changes = _changes(tiny.make(), made, 0)
    assert 1e-4 < changes.mean() < 0.1 and changes.max() < 0.5
    # Alone, and after other weights: what is stored follows from what is given.
    _, others = _changes(tiny.make(seed=1), made, 1)
    assert others.mean() < 0.1
    alone = _client(tiny.make(), made, 2).generate(
        _PROMPTS[1:],
        group_size=1,
        seeds=np.array([3], np.uint32),
        sampling=Sampling(max_new_tokens=_STEPS, temperature=1.0),
    )
    assert (alone[0].tokens, alone[0].logprobs) == (first[3].tokens, first[3].logprobs)


def test_a_page_of_int8_takes_a_quarter_and_its_scales():
    sizes = {
        pages: sizing.page_bytes(
            tiny.CONFIG, Stored(pages=pages).pages_dtype("float32"), page_size=16
        )
        for pages in ("same", "int8", "float8")
    }
    heads = 2 * 16 * 2 * tiny.CONFIG.num_kv_heads  # of two layers
    assert sizes == {"same": heads * 64, "int8": heads * (16 + 4), "float8": heads * 16}
