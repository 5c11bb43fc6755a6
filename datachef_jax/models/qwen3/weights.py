"""Qwen3 models from random numbers or Hugging Face folders, and back into them."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import json
import math
import os
import pathlib
import struct

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key
import numpy as np
import safetensors

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import layout
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Qwen3

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_KINDS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_WRITE_BYTES = 64 * 2**20  # converted and written at a time


def random(config: Qwen3Config, compute: Compute, *, seed: int) -> Qwen3:
    """Makes a model of random weights, split over the mesh if one is set."""
    with layout.placement():
        return _random(jax.random.key(seed), config=config, compute=compute)


def load(folder: str | os.PathLike, compute: Compute) -> Qwen3:
    """Reads a Hugging Face folder, each device only the part it keeps.

    A tensor is read, converted and put in its place before the next one is looked at:
    beside the model itself the host holds one tensor of one layer, and of that only
    what its own devices keep.

    Args:
      folder: With `config.json`, and the weights as one `model.safetensors` or as
        several files with an index.
      compute: How the model computes; stored weights are converted to its
        `param_dtype`.

    Returns:
      The model, split over the mesh if one is set.

    Raises:
      ValueError: If the config is unsupported, or a tensor is missing, unknown or
        of another shape than the config says; the message names it.
    """
    folder = pathlib.Path(folder)
    config = qwen3_config.from_folder(folder)
    graphdef, shapes = nnx.split(layout.abstract(config, compute), nnx.Param)
    placements = layout.shardings(shapes)
    files = _files(folder)
    _check_names(folder, shapes, set(files), config)
    loaded = []
    for path, param in nnx.to_flat_state(shapes):
        wanted, place = param.get_value(), placements[path]
        if path[0] == "layers":
            array = _read_layers(files, path, wanted, place)
        else:
            (name,) = layout.names(path, config.num_layers)
            array = _read(files, name, path, wanted, place)
        loaded.append((path, param.replace(array)))
    return nnx.merge(graphdef, nnx.from_flat_state(loaded))


def save(
    model: Qwen3,
    folder: str | os.PathLike,
    *,
    stored_dtype: DTypeLike,
    max_file_bytes: int = 5 * 10**9,
) -> None:
    """Writes `config.json` and the weights, which transformers can load.

    Each file appears whole or not at all, the config last. Of a model that is split
    over several processes each has to call this; the first one writes. A tensor of one
    layer is gathered at a time.

    Args:
      model: The model.
      folder: Made if needed; what else it holds (a tokenizer) stays.
      stored_dtype: Of the tensors in the files.
      max_file_bytes: Where one file would be larger there are several, with an index;
        transformers' own limit by default.
    """
    if model.lora is not None:
        raise ValueError("the model has adapters: merge them first, or save them alone")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = jnp.dtype(stored_dtype)
    groups = _group(list(_tensors(model)), dtype.itemsize, max_file_bytes)
    count = len(groups)
    names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    names = [_SINGLE] if count == 1 else names
    for name, group in zip(names, groups, strict=True):
        _write_tensors(folder / name, group, dtype)
    if jax.process_index():
        return
    where = {
        tensor.name: name
        for name, group in zip(names, groups, strict=True)
        for tensor in group
    }
    for stale in {_SINGLE, _INDEX, *(p.name for p in folder.glob("model-*-of-*"))}:
        if stale not in names:
            (folder / stale).unlink(missing_ok=True)
    if len(names) > 1:
        total = sum(math.prod(t.shape) for group in groups for t in group)
        metadata = {"total_size": total * dtype.itemsize}
        write_json(folder / _INDEX, {"metadata": metadata, "weight_map": where})
    fields = qwen3_config.to_hf(model.config) | {"dtype": dtype.name}
    write_json(folder / "config.json", fields)


@functools.partial(jax.jit, static_argnames=("config", "compute"))
def _random(key: Key[Array, ""], *, config: Qwen3Config, compute: Compute) -> Qwen3:
    """Draws the weights where they are to live: no device ever holds all of them."""
    return Qwen3(config, compute, rngs=nnx.Rngs(params=key))


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
    expected = {
        name
        for path, _ in nnx.to_flat_state(shapes)
        for name in layout.names(path, config.num_layers)
    }
    if config.tie_embeddings:
        # Qwen's own small checkpoints store the tied head a second time.
        found = found - {"lm_head.weight"}
    # A reward model's head, which `verifier.baselines.reward_model` reads.
    found = found - {"score.weight"}
    if missing := sorted(expected - found):
        raise ValueError(f"{folder} lacks {len(missing)} tensors: {missing[:5]}")
    if extra := sorted(found - expected):
        raise ValueError(f"{folder} has {len(extra)} unknown tensors: {extra[:5]}")


def _read_layers(
    files: dict[str, pathlib.Path],
    path: tuple,
    wanted: jax.ShapeDtypeStruct,
    placement: jax.sharding.Sharding,
) -> jax.Array:
    """Reads one parameter of all layers, layer by layer; arguments as for `_read`."""
    one = jax.ShapeDtypeStruct(wanted.shape[1:], wanted.dtype)
    place = placement
    if isinstance(placement, jax.sharding.NamedSharding):
        place = jax.sharding.NamedSharding(
            placement.mesh, jax.sharding.PartitionSpec(*placement.spec[1:])
        )
    stacked = jnp.zeros(wanted.shape, wanted.dtype, device=placement)
    for i, name in enumerate(layout.names(path, wanted.shape[0])):
        stacked = _put(stacked, _read(files, name, path, one, place), i)
    return stacked


@functools.partial(jax.jit, donate_argnames="stacked")
def _put(
    stacked: Float[Array, "layers ..."], layer: Float[Array, "..."], i: Int[Array, ""]
) -> Float[Array, "layers ..."]:
    return jax.lax.dynamic_update_index_in_dim(stacked, layer, i, axis=0)


def _read(
    files: dict[str, pathlib.Path],
    name: str,
    path: tuple,
    wanted: jax.ShapeDtypeStruct,
    placement: jax.sharding.Sharding,
) -> jax.Array:
    """Reads one tensor, piece by piece.

    Args:
      files: Of all tensors.
      name: Of this one.
      path: Where it sits in our model.
      wanted: Its shape and dtype there.
      placement: How it is split; only pieces kept by this host are read.
    """
    turned = layout.turned(path)
    stored_shape = wanted.shape[::-1] if turned else wanted.shape
    # Opened anew for each tensor: closing gives its pages back.
    with safetensors.safe_open(files[name], framework="numpy") as file:
        tensor = file.get_slice(name)
        if tuple(tensor.get_shape()) != stored_shape:
            raise ValueError(
                f"tensor {name} has shape {tuple(tensor.get_shape())}, "
                f"the config says {stored_shape}"
            )

        def piece(index: tuple[slice, ...]) -> np.ndarray:
            part = tensor[index[::-1] if turned else index]
            return (part.T if turned else part).astype(wanted.dtype, copy=False)

        array = jax.make_array_from_callback(wanted.shape, placement, piece)
        return jax.block_until_ready(array)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tensor:
    """One tensor to be written: its name, its shape there, and how to get at it."""

    name: str
    shape: tuple[int, ...]
    fetch: Callable[[], np.ndarray]


def _tensors(model: Qwen3) -> Iterator[_Tensor]:
    for path, param in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        array, turned = param[...], layout.turned(path)
        stacked = path[0] == "layers"
        shape = array.shape[1:] if stacked else array.shape
        for i, name in enumerate(layout.names(path, model.config.num_layers)):
            yield _Tensor(
                name=name,
                shape=shape[::-1] if turned else shape,
                fetch=functools.partial(_fetch, array, i if stacked else None, turned),
            )


def _fetch(array: jax.Array, layer: int | None, turned: bool) -> np.ndarray:
    """Gathers a tensor, or one layer of it, on every host."""
    part = array if layer is None else array[layer]
    host = on_host(part)
    return host.T if turned else host


def on_host(array: jax.Array) -> np.ndarray:
    """Gathers an array on every host."""
    if not array.is_fully_addressable:
        everywhere = jax.sharding.PartitionSpec()
        array = jax.device_put(
            array, jax.sharding.NamedSharding(array.sharding.mesh, everywhere)
        )
    return np.asarray(array)


def _group(
    tensors: Sequence[_Tensor], itemsize: int, max_file_bytes: int
) -> list[list[_Tensor]]:
    """Fills file after file, in the order of the tensors."""
    groups, room = [[]], max_file_bytes
    for tensor in tensors:
        size = math.prod(tensor.shape) * itemsize
        if size > room and groups[-1]:
            groups.append([])
            room = max_file_bytes
        groups[-1].append(tensor)
        room -= size
    return groups


def _write_tensors(
    path: pathlib.Path, tensors: Sequence[_Tensor], dtype: np.dtype
) -> None:
    """Writes a safetensors file (huggingface.co/docs/safetensors) as a stream.

    The library's own writer wants all tensors at once, and copies them.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for tensor in tensors:
        start, end = end, end + math.prod(tensor.shape) * dtype.itemsize
        header[tensor.name] = {
            "dtype": _KINDS[dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the data begins aligned
    writes = jax.process_index() == 0
    partial = path.with_name(path.name + ".partial")
    with open(partial if writes else os.devnull, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors:
            array = tensor.fetch()
            if writes:
                rows = array.reshape(array.shape[0], -1)
                step = max(_WRITE_BYTES // (rows.shape[1] * dtype.itemsize), 1)
                for first in range(0, len(rows), step):
                    block = np.ascontiguousarray(rows[first : first + step])
                    file.write(block.astype(dtype).tobytes())
    if writes:
        os.replace(partial, path)


def write_json(path: pathlib.Path, value: object) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(partial, path)
