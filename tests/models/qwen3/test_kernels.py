"""Tests for datachef_jax/models/qwen3/kernels.py."""

import dataclasses
import functools

from flax import nnx
import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as splash_mask,
)
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.models.qwen3 import attention
from datachef_jax.models.qwen3 import kernels
from datachef_jax.parallel import sharding
from tests.models.qwen3 import tiny

_TIME = 200  # more than a block of 128, and no multiple of it


def _rows(batch, heads, kv_heads, head_dim, *, time=_TIME, dtype="float32"):
    """Returns queries, keys and values, [batch, time, heads, head_dim]."""
    rng = np.random.default_rng(1)  # of JAX, each shape would compile for a second
    shapes = ((batch, time, n, head_dim) for n in (heads, kv_heads, kv_heads))
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


def _segments(batch, *, time=_TIME):
    """Returns rows of sequences of all lengths, with padding behind the last."""
    rng = np.random.default_rng(0)
    rows = np.zeros((batch, time), np.int32)
    for row in rows:
        ends = np.sort(rng.choice(time - 1, 4, replace=False)) + 1
        for i, (start, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
            row[start:end] = i + 1
    return jnp.asarray(rows)


def _causal(*, window):
    """Returns the plain jnp path as a kernel."""

    def kernel(query, key, value, segments):
        filled = attention.KeysValues(
            keys=key.transpose(0, 2, 3, 1), values=value.swapaxes(1, 2)
        )
        mixed = attention.causal(query.swapaxes(1, 2), filled, segments, window=window)
        return mixed.swapaxes(1, 2)

    return kernel


def _slopes(kernel, rows, segments):
    """Returns what real tokens get, and the gradients of a random sum of it."""
    weights = np.random.default_rng(2).standard_normal(rows[0].shape, np.float32)
    real = True if segments is None else (segments > 0)[:, :, None, None]

    def total(rows):
        mixed = kernel(*rows, segments).astype(jnp.float32)
        kept = jnp.where(real, mixed, 0.0)
        # Of padding as well: what it gets means nothing, but it must be a number.
        return (kept * weights).sum(), (kept, jnp.isfinite(mixed).all())

    (_, (kept, finite)), slopes = jax.jit(jax.value_and_grad(total, has_aux=True))(rows)
    assert finite
    return kept, slopes


def _assert_close(got, expected, atol=2e-5):
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        np.testing.assert_allclose(a, b, atol=atol)


def _agree(kernel, rows, segments, *, window, atol=2e-5):
    expected = _slopes(_causal(window=window), rows, segments)
    _assert_close(_slopes(kernel, rows, segments), expected, atol)


@pytest.fixture
def short_blocks(monkeypatch):
    """Makes blocks as short as can be, so that short rows have several."""
    monkeypatch.setattr(kernels, "_LONGEST_BLOCK", 128)


@pytest.mark.parametrize(("packed", "window"), [(True, None), (True, 30), (False, 130)])
def test_splash_attends_like_plain_jnp(packed, window, short_blocks):
    rows, segments = _rows(2, 4, 2, 16), _segments(2) if packed else None
    splash = functools.partial(kernels.splash, window=window, interpret=True)
    _agree(splash, rows, segments, window=window)


def test_splash_attends_like_plain_jnp_on_a_mesh(short_blocks):
    rows, segments = _rows(4, 4, 2, 8), _segments(4)
    splash = functools.partial(kernels.splash, window=30, interpret=True)
    with jax.set_mesh(sharding.make_mesh(data=4, model=2)):
        got = _slopes(functools.partial(kernels.split, splash), rows, segments)
    _assert_close(got, _slopes(_causal(window=30), rows, segments))


@pytest.mark.parametrize("packed", [True, False])
def test_a_model_gives_each_layer_its_own_window(packed, monkeypatch):
    config = dataclasses.replace(tiny.CONFIG, sliding_window=3, sliding_layers=(1,))
    graphdef, params = nnx.split(tiny.make(config), nnx.Param)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 64, (2, 20)), jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(20)[None], tokens.shape)
    segments = jnp.where(positions < 9, 1, 2).at[1, 17:].set(0) if packed else None

    def run():
        model = jax.jit(lambda params, *rows: nnx.merge(graphdef, params)(*rows))
        return model(params, tokens, positions, segments)[:, :17]

    expected = run()
    splash = functools.partial(kernels.splash, interpret=True)
    monkeypatch.setattr(kernels, "splash", splash)
    monkeypatch.setattr(kernels, "platform", lambda: "tpu")
    _assert_close(run(), expected)


@pytest.mark.parametrize(
    ("data", "model", "batch", "heads", "kv_heads"),
    [
        (2, 4, 4, 8, 2),  # two devices share a key head
        (1, 8, 2, 24, 6),  # 24 copies, 12 would not do: three for each device
        (4, 2, 3, 3, 1),  # nothing can be divided: each device computes everything
    ],
)
def test_each_device_gets_what_its_heads_need(data, model, batch, heads, kv_heads):
    rows = _rows(batch, heads, kv_heads, 4, time=8)
    segments = None if data == 1 else _segments(batch, time=8)
    kernel = _causal(window=None)
    with jax.set_mesh(sharding.make_mesh(data=data, model=model)):
        got = _slopes(functools.partial(kernels.split, kernel), rows, segments)
    _assert_close(got, _slopes(kernel, rows, segments))


def test_triton_attends_like_plain_jnp():
    rows, segments = _rows(2, 4, 2, 16), _segments(2)
    triton = functools.partial(kernels.triton, window=None, interpret=True)
    _agree(triton, rows, segments, window=None)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_triton_becomes_three_kernels_for_a_gpu_that_is_not_there(dtype):
    rows, segments = _rows(2, 4, 2, 128, dtype=dtype), _segments(2)
    triton = functools.partial(kernels.triton, window=None)
    total = lambda rows: triton(*rows, segments).astype(jnp.float32).sum()
    program = jax.jit(jax.grad(total)).trace(rows).lower(lowering_platforms=("cuda",))
    for name in ("mha_forward", "mha_preprocess_backward", "mha_backward"):
        assert f'name = "{name}"' in program.as_text()


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "dtype", "window"),
    [
        ("cudnn", "bfloat16", None),
        ("cudnn", "bfloat16", 100),
        ("triton", "bfloat16", None),
        ("triton", "float32", None),
    ],
)
def test_a_gpu_attends_like_plain_jnp(name, dtype, window):
    if jax.default_backend() != "gpu":
        pytest.skip("needs a GPU and JAX_PLATFORMS=cuda")
    rows = _rows(2, 8, 2, 128, time=300, dtype=dtype)
    segments = _segments(2, time=300) if name == "triton" else None
    kernel = kernels.find(kernels.Choice(name), window=window)
    # Of bfloat16, and of the TensorFloat-32 in which GPUs multiply float32.
    _agree(kernel, rows, segments, window=window, atol=0.05)


@pytest.mark.parametrize(
    ("platform", "dtype", "packed", "window", "expected"),
    [
        ("cpu", "float32", True, True, "blocked"),
        ("tpu", "float32", True, True, "splash"),
        ("gpu", "bfloat16", False, True, "cudnn"),
        ("gpu", "bfloat16", True, False, "triton"),
        ("gpu", "float32", False, False, "triton"),
        ("gpu", "float32", False, True, "blocked"),
    ],
)
def test_choose(platform, dtype, packed, window, expected):
    choice = kernels.choose(platform, dtype, packed=packed, window=window)
    assert choice.name == expected
    assert bool(choice.lost) == (platform == "gpu" and expected != "cudnn")


def test_what_is_lost_is_said_and_recorded(monkeypatch):
    monkeypatch.setattr(kernels, "_said", [])
    lost = kernels.choose("gpu", "float32", packed=False, window=False)
    with pytest.warns(UserWarning, match="attention uses triton: cuDNN has no float32"):
        kernels.warn(lost)
    record = kernels.chosen("gpu", "bfloat16")
    assert record["one sequence a row"] == "cudnn"
    assert record["packed rows"] == "triton: cuDNN has no packed rows"
    assert set(kernels.chosen("tpu", "bfloat16").values()) == {"splash"}


def test_the_platform_is_that_of_the_mesh(mesh):
    assert kernels.platform() == "cpu"
    far = jax.sharding.AbstractDevice("TPU v5", num_cores=1, platform="tpu")
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh.update(abstract_device=far)):
        assert kernels.platform() == "tpu"


def test_a_window_as_long_as_the_rows_is_none():
    assert isinstance(kernels._mask(128, 128), splash_mask.CausalMask)
    assert isinstance(kernels._mask(128, 127), splash_mask.LocalMask)


@pytest.mark.parametrize(
    ("time", "block"), [(5, 128), (512, 512), (600, 384), (32_768, 512)]
)
def test_blocks_are_few_and_waste_less_than_one(time, block):
    assert kernels._block(time) == block
