"""Attention becomes Pallas kernels on a TPU, compiled on a machine without one."""

import dataclasses
import functools
import re

from flax import nnx
import jax
import jax.numpy as jnp
import pytest

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import ragged
from datachef_jax.models.qwen3 import sizes
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.parallel import sharding
from tests.rl import test_tpu

pytestmark = pytest.mark.parity
make_tpu_mesh, tpu_mesh = test_tpu.make_tpu_mesh, test_tpu.tpu_mesh

_ROWS, _TIME = 4, 2048
_CONFIG = qwen3_config.Qwen3Config(
    vocab_size=1024,
    hidden_size=512,
    intermediate_size=1024,
    num_layers=2,
    num_heads=8,
    num_kv_heads=2,
    head_dim=128,
    rope_theta=1e6,
    rms_norm_eps=1e-6,
    tie_embeddings=True,
    max_positions=32_768,
)
_COMPUTE = qwen3_config.Compute(
    dtype="bfloat16",
    param_dtype="float32",
    remat="full",
    shard_sequence=True,
    unroll=1,
)


def _compiled_gradient(config, mesh, *, packed):
    """Returns the text of the program that computes the gradient of packed rows."""
    graphdef, shapes = nnx.split(
        nnx.eval_shape(lambda: Qwen3(config, _COMPUTE, rngs=nnx.Rngs(0))), nnx.Param
    )
    params = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        shapes,
        nnx.get_named_sharding(shapes, mesh),
    )
    places = jax.NamedSharding(mesh, jax.P("data"))
    rows = jax.ShapeDtypeStruct((_ROWS, _TIME), jnp.int32, sharding=places)

    def total(params, tokens, positions, segments):
        model = nnx.merge(graphdef, params)
        return model(tokens, positions, segments if packed else None).sum()

    return jax.jit(jax.grad(total)).lower(params, rows, rows, rows).compile().as_text()


@pytest.mark.parametrize(
    ("packed", "sliding", "kernels"),
    [
        (True, (), 4),  # forward, again for the backward pass, of keys, of queries
        (False, (1,), 8),  # the same with and without the window
    ],
)
def test_no_score_of_a_gradient_reaches_memory(packed, sliding, kernels, tpu_mesh):
    config = dataclasses.replace(
        _CONFIG, sliding_window=600 if sliding else None, sliding_layers=sliding
    )
    with jax.set_mesh(tpu_mesh), nnx.logical_axis_rules(sharding.AXIS_RULES):
        text = _compiled_gradient(config, tpu_mesh, packed=packed)
    assert text.count('custom_call_target="tpu_custom_call"') == kernels
    assert "splash_mha_dkv" in text
    assert not re.findall(rf"\[(?:\d+,)*{_TIME},{_TIME}\]", text)


def _compiled_attention(model, mesh, tokens, sequences, *, window):
    """Compiles `ragged.attend` with tables of 32 pages of 64 positions."""
    heads = (None, "model", None)

    def shaped(*shape, dtype=jnp.int32, axes=()):
        place = jax.NamedSharding(mesh, jax.P(*axes))
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    pool = (512, 64, 2 * model.num_kv_heads, model.head_dim)
    arguments = (
        shaped(tokens, model.num_heads, model.head_dim, dtype=jnp.bfloat16, axes=heads),
        ragged.Pages(shaped(*pool, dtype=jnp.bfloat16, axes=(None, *heads))),
        ragged.Reads(
            tables=shaped(sequences, 32),
            lengths=shaped(sequences),
            ends=shaped(sequences + 1),
            count=shaped(1),
        ),
    )
    attend = functools.partial(ragged.attend, window=window)
    return jax.jit(attend).lower(*arguments).compile()


@pytest.mark.parametrize("size", ["0.6b", "32b"])  # 16 and 64 heads for 8 key heads
@pytest.mark.parametrize(
    ("topology", "chips"), [("v5e:2x2", 4), ("v5p:2x2x1", 1), ("v6e:2x2", 1)]
)
def test_attention_to_pages_is_one_kernel_on_every_chip(
    size, topology, chips, make_tpu_mesh
):
    model = sizes.QWEN3[size]
    mesh = make_tpu_mesh(topology, data=1, model=chips)
    pool = 512 * 64 * 2 * model.num_kv_heads * model.head_dim * 2 // chips
    with jax.set_mesh(mesh):
        for tokens, sequences, window in ((64, 64, None), (512, 8, 1000)):
            compiled = _compiled_attention(
                model, mesh, tokens, sequences, window=window
            )
            memory = compiled.memory_analysis()
            text = compiled.as_text()
            assert text.count('custom_call_target="tpu_custom_call"') == 1
            assert (
                memory.argument_size_in_bytes > pool > 100 * memory.temp_size_in_bytes
            )
            assert "all-gather" not in text and "all-reduce" not in text
