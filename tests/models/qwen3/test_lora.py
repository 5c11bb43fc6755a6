"""Tests for datachef_jax/models/qwen3/lora.py."""

import dataclasses
import json

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest
from safetensors import numpy as safetensors

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import lora
from datachef_jax.models.qwen3 import weights
from tests.models.qwen3 import tiny

SETTINGS = qwen3_config.Lora(rank=3, alpha=12.0, targets=("q_proj", "down_proj"))
_TOKENS = np.arange(20).reshape(2, 10)


def adapted(config=tiny.CONFIG, settings=SETTINGS):
    """Returns a model whose adapters are random, `up` included."""
    model = lora.add(tiny.make(config), settings, seed=0)
    graphdef, adapters, rest = nnx.split(model, nnx.LoRAParam, ...)
    rng = np.random.default_rng(1)
    drawn = jax.tree.map(
        lambda x: jnp.asarray(0.3 * rng.standard_normal(x.shape), x.dtype), adapters
    )
    return nnx.merge(graphdef, drawn, rest)


def test_new_adapters_change_nothing():
    model = tiny.make()
    got = tiny.logits(lora.add(model, SETTINGS, seed=0), _TOKENS)
    np.testing.assert_array_equal(got, tiny.logits(model, _TOKENS))


def test_adapters_are_those_asked_for_and_nothing_else_is_of_their_type():
    state = nnx.state(adapted(), nnx.LoRAParam)
    shapes = {".".join(map(str, path)): x.shape for path, x in nnx.to_flat_state(state)}
    assert shapes == {
        "layers.attention.query.down": (2, 32, 3),
        "layers.attention.query.up": (2, 3, 64),
        "layers.mlp.down.down": (2, 48, 3),
        "layers.mlp.down.up": (2, 3, 32),
    }


def test_an_adapter_adds_its_product_times_alpha_over_rank():
    model = adapted()
    query = model.layers.attention.query
    x = np.random.default_rng(2).standard_normal((5, 32)).astype(np.float32)
    weights, down, up = (
        np.asarray(w[0], np.float64) for w in (query.weights, query.down, query.up)
    )
    expected = x @ (weights + 4.0 * down @ up)
    one = jax.tree.map(lambda w: w[0], query)
    np.testing.assert_allclose(jax.jit(one)(jnp.asarray(x)), expected, atol=1e-4)


def test_a_merged_model_is_plain_and_computes_the_same(tmp_path):
    model = adapted()
    merged = lora.merge(model)
    assert merged.lora is None
    expected = tiny.logits(model, _TOKENS)
    assert np.abs(expected - tiny.logits(tiny.make(), _TOKENS)).max() > 0.1
    np.testing.assert_allclose(tiny.logits(merged, _TOKENS), expected, atol=1e-4)
    weights.save(merged, tmp_path, stored_dtype="float32")
    loaded = weights.load(tmp_path, tiny.COMPUTE)
    np.testing.assert_allclose(tiny.logits(loaded, _TOKENS), expected, atol=1e-4)
    assert lora.merge(merged) is merged


def test_weights_with_adapters_are_not_written_as_if_there_were_none(tmp_path):
    with pytest.raises(ValueError, match="merge"):
        weights.save(adapted(), tmp_path, stored_dtype="float32")


def test_a_folder_gives_the_adapters_back_bit_by_bit(tmp_path):
    model = adapted()
    lora.save(model, tmp_path, base="where/the/base/is")
    loaded = lora.load(tiny.make(), tmp_path)
    assert loaded.lora == dataclasses.replace(
        SETTINGS, targets=tuple(sorted(SETTINGS.targets))
    )
    both = (nnx.state(m, nnx.LoRAParam) for m in (model, loaded))
    jax.tree.map(np.testing.assert_array_equal, *both)
    written = safetensors.load_file(tmp_path / "adapter_model.safetensors")
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"
    np.testing.assert_array_equal(written[name].T, model.layers.mlp.down.up[1])


def _config(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _drop(folder, name):
    path = folder / "adapter_model.safetensors"
    tensors = safetensors.load_file(path)
    del tensors[f"base_model.model.model.layers.{name}.weight"]
    safetensors.save_file(tensors, path)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda f: _config(f, use_dora=True), "use_dora=True"),
        (lambda f: _config(f, target_modules=["lm_head"]), "lm_head"),
        (lambda f: _config(f, target_modules="all-linear"), "all-linear"),
        (lambda f: _config(f, r=5), r"has shape \(3, 32\)"),
        (lambda f: _config(f, target_modules=["q_proj"]), "unknown tensors"),
        (lambda f: _drop(f, "0.mlp.down_proj.lora_A"), "lacks .*0.mlp.down_proj"),
    ],
)
def test_adapters_that_are_not_ours_to_use_are_refused(spoil, said, tmp_path):
    lora.save(adapted(), tmp_path, base="")
    spoil(tmp_path)
    with pytest.raises(ValueError, match=said):
        lora.load(tiny.make(), tmp_path)


def test_adapters_are_split_like_their_weights(mesh, tmp_path):
    whole = adapted()
    lora.save(whole, tmp_path / "adapters", base="")
    plain = nnx.merge(*nnx.split(tiny.make()))
    weights.save(plain, tmp_path / "base", stored_dtype="float32")
    expected = tiny.logits(whole, np.resize(_TOKENS, (8, 10)))
    with jax.set_mesh(mesh):
        base = weights.load(tmp_path / "base", tiny.COMPUTE)
        split = lora.load(base, tmp_path / "adapters")
        query = split.layers.attention.query
        assert query.down[...].sharding.spec == P(None, "data", None)
        assert query.up[...].sharding.spec == P(None, None, "model")
        got = tiny.logits(split, np.resize(_TOKENS, (8, 10)))
        np.testing.assert_allclose(got, expected, atol=1e-4)
        merged = lora.merge(split)
        assert merged.layers.attention.query.weights[...].sharding.spec == P(
            None, "data", "model"
        )
        made = lora.add(base, SETTINGS, seed=1)
        assert made.layers.attention.query.up[...].sharding.spec == P(
            None, None, "model"
        )
