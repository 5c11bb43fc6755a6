"""Tests for datachef_jax/models/qwen3/weights.py."""

import dataclasses
import json

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest
import safetensors.numpy

from datachef_jax.models.qwen3 import weights
from tests.models.qwen3 import tiny

_BOTH = pytest.mark.parametrize("config", [tiny.CONFIG, tiny.UNTIED])


def _leaves(model):
    return jax.tree.leaves(nnx.state(model, nnx.Param))


def _assert_same(a, b):
    for x, y in zip(_leaves(a), _leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def _saved(tmp_path, config=tiny.CONFIG):
    """Saves a model and returns its tensors, to be tampered with."""
    weights.save(tiny.make(config), tmp_path, stored_dtype="float32")
    return safetensors.numpy.load_file(tmp_path / "model.safetensors")


def _store(tmp_path, tensors):
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")


def test_random_is_a_function_of_the_seed():
    a = weights.random(tiny.CONFIG, tiny.COMPUTE, seed=3)
    _assert_same(a, weights.random(tiny.CONFIG, tiny.COMPUTE, seed=3))
    b = weights.random(tiny.CONFIG, tiny.COMPUTE, seed=4)
    assert np.abs(a.embedding[...] - b.embedding[...]).max() > 0.01


def test_weights_are_born_split_as_the_rules_say(mesh):
    with jax.set_mesh(mesh):
        model = weights.random(tiny.UNTIED, tiny.COMPUTE, seed=0)
    assert model.layers.mlp.gate.weights[...].sharding.spec == P(None, "data", "model")
    assert model.layers.mlp.down.weights[...].sharding.spec == P(None, "model", "data")
    pieces = model.embedding[...].addressable_shards
    assert {piece.data.shape for piece in pieces} == {(64 // 2, 32 // 4)}


@_BOTH
def test_saving_and_loading_changes_no_bit(config, tmp_path):
    model = tiny.make(config)
    weights.save(model, tmp_path, stored_dtype="float32")
    loaded = weights.load(tmp_path, tiny.COMPUTE)
    assert loaded.config == config
    assert nnx.split(loaded)[0] == nnx.split(model)[0]
    _assert_same(loaded, model)


def test_bfloat16_weights_come_back_bit_by_bit(tmp_path):
    compute = dataclasses.replace(
        tiny.COMPUTE, dtype="bfloat16", param_dtype="bfloat16"
    )
    model = tiny.make(tiny.UNTIED, compute)
    weights.save(model, tmp_path, stored_dtype="bfloat16")
    _assert_same(weights.load(tmp_path, compute), model)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    wider = weights.load(tmp_path, tiny.COMPUTE)
    np.testing.assert_array_equal(wider.head[...], model.head[...].astype(jnp.float32))


def test_a_split_model_is_saved_whole_and_loaded_split(mesh, tmp_path):
    with jax.set_mesh(mesh):
        model = weights.random(tiny.UNTIED, tiny.COMPUTE, seed=0)
        weights.save(model, tmp_path, stored_dtype="float32")
        split = weights.load(tmp_path, tiny.COMPUTE)
    for ours, theirs in zip(_leaves(split), _leaves(model), strict=True):
        assert ours.sharding.is_equivalent_to(theirs.sharding, ours.ndim)
    _assert_same(weights.load(tmp_path, tiny.COMPUTE), split)


def test_loads_a_model_in_several_files(tmp_path):
    tensors = _saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    where = {}
    for i, part in enumerate((names[:5], names[5:])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        safetensors.numpy.save_file({n: tensors[n] for n in part}, tmp_path / file)
        where |= {name: file for name in part}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    _assert_same(weights.load(tmp_path, tiny.COMPUTE), tiny.make())


def test_names_a_missing_an_unknown_and_a_misshapen_tensor(tmp_path):
    tensors = _saved(tmp_path)
    name = "model.layers.1.self_attn.k_proj.weight"
    _store(tmp_path, {k: v for k, v in tensors.items() if k != name})
    with pytest.raises(ValueError, match=f"lacks 1 tensors.*{name}"):
        weights.load(tmp_path, tiny.COMPUTE)
    _store(tmp_path, tensors | {"model.layers.1.self_attn.k_proj.bias": tensors[name]})
    with pytest.raises(ValueError, match="1 unknown tensors.*k_proj.bias"):
        weights.load(tmp_path, tiny.COMPUTE)
    _store(tmp_path, tensors | {name: np.zeros((32, 33), np.float32)})
    with pytest.raises(ValueError, match=rf"{name} has shape \(32, 33\).*\(32, 32\)"):
        weights.load(tmp_path, tiny.COMPUTE)


def test_a_tied_head_may_be_stored_a_second_time(tmp_path):
    tensors = _saved(tmp_path)
    embedding = tensors["model.embed_tokens.weight"]
    _store(tmp_path, tensors | {"lm_head.weight": embedding})
    _assert_same(weights.load(tmp_path, tiny.COMPUTE), tiny.make())


def test_names_a_folder_without_weights(tmp_path):
    _saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="has neither model.safetensors nor"):
        weights.load(tmp_path, tiny.COMPUTE)


def test_saving_leaves_other_files_and_no_unfinished_ones(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    _saved(tmp_path)
    _saved(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"tokenizer.json", "config.json", "model.safetensors"}


def test_a_large_model_is_written_in_several_files(tmp_path):
    model = tiny.make(tiny.UNTIED)
    weights.save(model, tmp_path, stored_dtype="float32", max_file_bytes=20_000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    stored = {}
    for name in files:
        held = safetensors.numpy.load_file(tmp_path / name)
        assert {index["weight_map"][key] for key in held} == {name}
        assert len(held) == 1 or sum(x.nbytes for x in held.values()) <= 20_000
        stored |= held
    size = sum(x.nbytes for x in stored.values())
    assert index["metadata"]["total_size"] == size
    assert stored.keys() == index["weight_map"].keys()
    _assert_same(weights.load(tmp_path, tiny.COMPUTE), model)
    # Written again in one file, nothing of the several stays behind.
    weights.save(model, tmp_path, stored_dtype="float32")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"config.json", "model.safetensors"}
