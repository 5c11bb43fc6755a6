"""Low-rank adapters of a Qwen3: added, merged, and kept in PEFT's format.

The adapters are parameters of their own type, `nnx.LoRAParam`, so that an update can
tell what learns from what does not (Hu et al. 2021, arXiv:2106.09685).
"""

import functools
import json
import os
import pathlib

from flax import nnx
import jax
from jaxtyping import Array, Key
import numpy as np
from safetensors import numpy as safetensors

from datachef_jax.models.qwen3 import layout
from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Lora
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Qwen3

_FILE = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
# Ours -> PEFT's, which keeps the transposes.
_PARTS = {"down": "lora_A", "up": "lora_B"}


def add(model: Qwen3, lora: Lora, *, seed: int) -> Qwen3:
    """Returns the model with new adapters, which change nothing yet."""
    with layout.placement():
        made = _adapters(
            jax.random.key(seed), config=model.config, compute=model.compute, lora=lora
        )
    return _join(model, made, lora)


def merge(model: Qwen3) -> Qwen3:
    """Returns the same function without adapters: they are added to the weights."""
    if model.lora is None:
        return model
    scale = model.lora.alpha / model.lora.rank
    _, adapters, rest = nnx.split(model, nnx.LoRAParam, ...)
    found = dict(nnx.to_flat_state(adapters))
    merged = []
    for path, param in nnx.to_flat_state(rest):
        if (*path[:-1], "down") in found:
            pair = (found[(*path[:-1], part)][...] for part in _PARTS)
            param = param.replace(_added(param[...], *pair, scale))
        merged.append((path, param))
    plain = layout.abstract(model.config, model.compute)
    return nnx.merge(nnx.split(plain)[0], nnx.from_flat_state(merged))


def save(model: Qwen3, folder: str | os.PathLike, *, base: str) -> None:
    """Writes the adapters as PEFT does, which can load them.

    Args:
      model: With adapters.
      folder: Made if needed.
      base: Where the model without them is to be found; PEFT asks there for it.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for path, param in nnx.to_flat_state(nnx.state(model, nnx.LoRAParam)):
        for name, layer in zip(
            _names(path, model.config.num_layers), param[...], strict=True
        ):
            tensors[name] = np.ascontiguousarray(weights.on_host(layer).T)
    fields = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": model.lora.rank,
        "lora_alpha": model.lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(model.lora.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }
    if jax.process_index() == 0:
        safetensors.save_file(tensors, folder / _FILE, metadata={"format": "pt"})
        weights.write_json(folder / _CONFIG, fields)


def load(model: Qwen3, folder: str | os.PathLike) -> Qwen3:
    """Returns a model without adapters with those of a PEFT folder.

    Raises:
      ValueError: If the adapters are of a kind, or for a model, other than ours; the
        message names the field or the tensor.
    """
    folder = pathlib.Path(folder)
    path = folder / _CONFIG
    lora = _from_fields(json.loads(path.read_text()), path)
    with safetensors.safe_open(folder / _FILE, framework="numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
    whole = layout.abstract(model.config, model.compute, lora=lora)
    shapes = nnx.state(whole, nnx.LoRAParam)
    placements = layout.shardings(shapes)
    loaded = []
    for place, param in nnx.to_flat_state(shapes):
        wanted = param.get_value()
        layers = []
        for name in _names(place, model.config.num_layers):
            if name not in found:
                raise ValueError(f"{folder / _FILE} lacks {name}")
            layers.append(found.pop(name).T)
            if layers[-1].shape != wanted.shape[1:]:
                raise ValueError(
                    f"{folder / _FILE}: {name} has shape {layers[-1].shape[::-1]}, the "
                    f"model wants {wanted.shape[:0:-1]}"
                )
        stacked = np.stack(layers).astype(wanted.dtype)
        loaded.append(
            (place, param.replace(jax.device_put(stacked, placements[place])))
        )
    if found:
        raise ValueError(f"{folder / _FILE} has unknown tensors: {sorted(found)[:5]}")
    return _join(model, nnx.from_flat_state(loaded), lora)


@functools.partial(jax.jit, static_argnames=("config", "compute", "lora"))
def _adapters(
    key: Key[Array, ""], *, config: Qwen3Config, compute: Compute, lora: Lora
) -> nnx.State:
    """Draws adapters; the compiler drops the rest of the model."""
    model = Qwen3(config, compute, lora=lora, rngs=nnx.Rngs(params=key))
    return nnx.state(model, nnx.LoRAParam)


def _join(model: Qwen3, adapters: nnx.State, lora: Lora) -> Qwen3:
    if model.lora is not None:
        raise ValueError("the model has adapters already: merge them first")
    whole = layout.abstract(model.config, model.compute, lora=lora)
    return nnx.merge(nnx.split(whole)[0], nnx.state(model), adapters)


@jax.jit
def _added(base: Array, down: Array, up: Array, scale: Array) -> Array:
    """Returns stacked weights with their stacked adapters added, in float32."""
    low, high = down.astype("float32"), up.astype("float32")
    exact = jax.lax.Precision.HIGHEST
    change = jax.numpy.matmul(low, high, precision=exact) * scale
    return (base.astype("float32") + change).astype(base.dtype)


def _names(path: tuple, num_layers: int) -> list[str]:
    """Returns PEFT's names of an adapter's tensors, one for each layer."""
    part = _PARTS[path[-1]]
    stored = layout.names((*path[:-1], "weights"), num_layers)
    return [
        f"base_model.model.{name.removesuffix('.weight')}.{part}.weight"
        for name in stored
    ]


def _from_fields(fields: dict, path: pathlib.Path) -> Lora:
    """Reads an `adapter_config.json`, and refuses what we would compute otherwise."""
    unlike = {
        "peft_type": "LORA", "bias": "none", "fan_in_fan_out": False,
        "use_rslora": False, "use_dora": False, "modules_to_save": None,
        "layers_to_transform": None, "rank_pattern": {}, "alpha_pattern": {},
    }  # fmt: skip
    for name, supported in unlike.items():
        value = fields.get(name, supported)
        if value != supported and value:
            raise ValueError(f"{path}: {name}={value!r}, supported: {supported!r}")
    targets = fields.get("target_modules")
    if not isinstance(targets, list):
        raise ValueError(f"{path}: target_modules={targets!r}, must be a list of names")
    try:
        return Lora(
            rank=fields["r"],
            alpha=float(fields["lora_alpha"]),
            targets=tuple(sorted(targets)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
