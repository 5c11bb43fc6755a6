"""Qwen3 models from random numbers or Hugging Face folders, and back into them."""

from collections.abc import Iterator
import contextlib
import functools
import json
import os
import pathlib
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Key
import numpy as np
import safetensors
import safetensors.numpy

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.parallel import sharding

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"

# Path of a parameter within a layer -> tensor name after "model.layers.N." in a
# Hugging Face file. Matrices are the transposes of those there, except `_OUTER`'s.
_LAYER = {
    ("attention_norm", "scale"): "input_layernorm.weight",
    ("attention", "query"): "self_attn.q_proj.weight",
    ("attention", "key"): "self_attn.k_proj.weight",
    ("attention", "value"): "self_attn.v_proj.weight",
    ("attention", "out"): "self_attn.o_proj.weight",
    ("attention", "query_norm", "scale"): "self_attn.q_norm.weight",
    ("attention", "key_norm", "scale"): "self_attn.k_norm.weight",
    ("mlp_norm", "scale"): "post_attention_layernorm.weight",
    ("mlp", "gate"): "mlp.gate_proj.weight",
    ("mlp", "up"): "mlp.up_proj.weight",
    ("mlp", "down"): "mlp.down_proj.weight",
}
_OUTER = {
    ("embedding",): "model.embed_tokens.weight",
    ("norm", "scale"): "model.norm.weight",
    ("head",): "lm_head.weight",
}


def random(
    config: Qwen3Config,
    *,
    seed: int,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    remat: bool,
) -> Qwen3:
    """Makes a model of random weights, split over the mesh if one is set."""
    with _placement():
        return _random(
            jax.random.key(seed),
            config=config,
            dtype=jnp.dtype(dtype),
            param_dtype=jnp.dtype(param_dtype),
            remat=remat,
        )


def load(
    folder: str | os.PathLike,
    *,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    remat: bool,
) -> Qwen3:
    """Reads a Hugging Face folder, each device only the part it keeps.

    Args:
      folder: With `config.json`, and the weights as one `model.safetensors` or as
        several files with an index.
      dtype: Of activations and matrix products.
      param_dtype: To convert the stored weights to.
      remat: See `Qwen3`.

    Returns:
      The model, split over the mesh if one is set.

    Raises:
      ValueError: If the config is unsupported, or a tensor is missing, unknown or
        of another shape than the config says; the message names it.
    """
    folder = pathlib.Path(folder)
    config = qwen3_config.from_folder(folder)
    with _placement():
        model = nnx.eval_shape(
            lambda: Qwen3(
                config,
                dtype=dtype,
                param_dtype=param_dtype,
                remat=remat,
                rngs=nnx.Rngs(0),
            )
        )
        graphdef, shapes = nnx.split(model, nnx.Param)
        shardings = _shardings(shapes)
    files = _files(folder)
    _check_names(folder, shapes, set(files), config)
    with contextlib.ExitStack() as stack:
        opened = {
            file: stack.enter_context(safetensors.safe_open(file, framework="numpy"))
            for file in set(files.values())
        }
        loaded = []
        for path, param in nnx.to_flat_state(shapes):
            tensor = opened[files[_name(path)]].get_slice(_name(path))
            array = _read(tensor, path, param.get_value(), shardings[path])
            loaded.append((path, param.replace(array)))
    return nnx.merge(graphdef, nnx.from_flat_state(loaded))


def save(model: Qwen3, folder: str | os.PathLike, *, stored_dtype: DTypeLike):
    """Writes `config.json` and `model.safetensors`, which transformers can load.

    Each file appears whole or not at all, the config last.

    Args:
      model: The model; sharded weights are gathered on this host.
      folder: Made if needed; what else it holds (a tokenizer) stays.
      stored_dtype: Of the tensors in the file.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored_dtype = jnp.dtype(stored_dtype)
    tensors = {}
    for path, param in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        array = np.asarray(jax.device_get(param[...])).astype(stored_dtype)
        # safetensors writes the memory as it lies, whatever the strides say.
        tensors[_name(path)] = np.ascontiguousarray(
            array.T if _turned(path) else array
        )
    fields = qwen3_config.to_hf(model.config) | {"dtype": stored_dtype.name}

    partial = folder / f"{_SINGLE}.partial"
    safetensors.numpy.save_file(tensors, partial, metadata={"format": "pt"})
    os.replace(partial, folder / _SINGLE)
    partial = folder / "config.json.partial"
    partial.write_text(json.dumps(fields, indent=2) + "\n")
    os.replace(partial, folder / "config.json")


@functools.partial(
    jax.jit, static_argnames=("config", "dtype", "param_dtype", "remat")
)
def _random(
    key: Key[Array, ""],
    *,
    config: Qwen3Config,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    remat: bool,
) -> Qwen3:
    """Draws the weights where they are to live: no device ever holds all of them."""
    return Qwen3(
        config,
        dtype=dtype,
        param_dtype=param_dtype,
        remat=remat,
        rngs=nnx.Rngs(params=key),
    )


@contextlib.contextmanager
def _placement() -> Iterator[None]:
    """Splits weights created inside by the one table; without a mesh, nothing is."""
    meshed = not jax.sharding.get_abstract_mesh().empty
    with (
        nnx.logical_axis_rules(sharding.AXIS_RULES),
        nnx.use_eager_sharding(meshed),
    ):
        yield


def _name(path: tuple) -> str:
    """Returns the Hugging Face name of the parameter at a path of our model."""
    if path[0] == "layers":
        return f"model.layers.{path[1]}.{_LAYER[path[2:]]}"
    return _OUTER[path]


def _turned(path: tuple) -> bool:
    """Says whether we keep a parameter as the transpose of the stored tensor."""
    return path not in (("embedding",), ("head",))


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the file that holds each tensor."""
    if (folder / _SINGLE).exists():
        with safetensors.safe_open(folder / _SINGLE, framework="numpy") as file:
            return {name: folder / _SINGLE for name in file.keys()}
    if (folder / _INDEX).exists():
        names = json.loads((folder / _INDEX).read_text())["weight_map"]
        return {name: folder / file for name, file in names.items()}
    raise ValueError(f"{folder} has neither {_SINGLE} nor {_INDEX}")


def _check_names(
    folder: pathlib.Path, shapes: nnx.State, found: set[str], config: Qwen3Config
):
    expected = {_name(path) for path, _ in nnx.to_flat_state(shapes)}
    if config.tie_embeddings:
        # Qwen's own small checkpoints store the tied head a second time.
        found = found - {"lm_head.weight"}
    if missing := sorted(expected - found):
        raise ValueError(f"{folder} lacks {len(missing)} tensors: {missing[:5]}")
    if extra := sorted(found - expected):
        raise ValueError(f"{folder} has {len(extra)} unknown tensors: {extra[:5]}")


def _shardings(shapes: nnx.State) -> dict[tuple, jax.sharding.Sharding]:
    """Returns where each parameter is to live, by path."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return {path: here for path, _ in nnx.to_flat_state(shapes)}
    named = nnx.to_flat_state(nnx.get_named_sharding(shapes, mesh))
    return {path: param.get_value() for path, param in named}


def _read(
    tensor: Any,
    path: tuple,
    wanted: jax.ShapeDtypeStruct,
    placement: jax.sharding.Sharding,
) -> jax.Array:
    """Reads one parameter from an opened file, piece by piece.

    Args:
      tensor: The slice object of safetensors.
      path: Where the parameter sits in our model.
      wanted: Its shape and dtype there.
      placement: How it is split; only pieces kept by this host are read.
    """
    turned = _turned(path)
    stored_shape = wanted.shape[::-1] if turned else wanted.shape
    if tuple(tensor.get_shape()) != stored_shape:
        raise ValueError(
            f"tensor {_name(path)} has shape {tuple(tensor.get_shape())}, "
            f"the config says {stored_shape}"
        )

    def piece(index: tuple[slice, ...]) -> np.ndarray:
        part = tensor[index[::-1] if turned else index]
        return (part.T if turned else part).astype(wanted.dtype)

    return jax.make_array_from_callback(wanted.shape, placement, piece)
