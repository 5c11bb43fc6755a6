"""The sizes of a Qwen3 or Llama model, and the `config.json` they are kept in."""

from collections.abc import Mapping
import dataclasses
import json
import math
import os
import pathlib
from typing import Any

from jaxtyping import Int
import numpy as np

from datachef_jax.models.qwen3 import rope as ropes

REMAT = ("none", "full", "dots", "offload")
PROJECTIONS = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
)  # fmt: skip
# Our field -> the field of a Hugging Face config.json.
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "rms_norm_eps": "rms_norm_eps",
    "tie_embeddings": "tie_word_embeddings",
    "max_positions": "max_position_embeddings",
}
# The only values that are implemented; a field that is absent has this one.
_SUPPORTED = {
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "pretraining_tp": 1,
}
# Said elsewhere (tokens), or of no effect on what a checkpoint computes.
_WITHOUT_EFFECT = {
    "architectures",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "id2label",
    "initializer_range",
    "label2id",
    "pad_token_id",
    "problem_type",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "_name_or_path",
}
_CLASSIFIER = "ForSequenceClassification"
_ROPE = {"rope_theta", "rope_scaling", "rope_parameters"}
_WINDOW = {"use_sliding_window", "sliding_window", "max_window_layers", "layer_types"}
# Whether queries and keys are normalized.
_FAMILIES = {"qwen3": True, "llama": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3Config:
    """The sizes of a dense Qwen3 model (arXiv:2505.09388, table 1), or of a Llama.

    Attributes:
      vocab_size: Rows of the embedding, at least the tokenizer's ids.
      hidden_size: Width of the residual stream.
      intermediate_size: Width of the feed-forward blocks.
      num_layers: Depth.
      num_heads: Query heads.
      num_kv_heads: Key and value heads; divides `num_heads`.
      head_dim: Width of one head; even.
      rope_theta: Base of the rotary wavelengths.
      rms_norm_eps: Added to the mean square of every RMSNorm.
      tie_embeddings: Whether the embedding is also the output head.
      max_positions: Longest sequence the model was made for, in tokens.
      rope_scaling: How the wavelengths are stretched for longer sequences.
      qk_norm: Whether query and key heads are normalized: in Qwen3, not in Llama.
      sliding_window: In `sliding_layers` a token sees so many tokens, itself included.
      sliding_layers: Indices of the layers with a window; the others see everything.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float
    tie_embeddings: bool
    max_positions: int
    rope_scaling: ropes.Scaling | None = None
    qk_norm: bool = True
    sliding_window: int | None = None
    sliding_layers: tuple[int, ...] = ()

    def __post_init__(self):
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is no multiple of "
                f"num_kv_heads {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for RoPE, got {self.head_dim}")

    def window(self, layer: int) -> int | None:
        """Returns how many tokens a token of a layer sees, None for all."""
        return self.sliding_window if layer in self.sliding_layers else None

    def windows(self) -> Int[np.ndarray, " layers"] | None:
        """Returns how many tokens the tokens of each layer see; None if all see all."""
        if not self.sliding_layers:
            return None
        everything = np.iinfo(np.int32).max // 2
        found = [self.window(i) or everything for i in range(self.num_layers)]
        return np.asarray(found, np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
    """How a model computes, as opposed to what.

    Attributes:
      dtype: Of activations and matrix products.
      param_dtype: Of the stored weights.
      remat: What the backward pass keeps of each layer, by name: "none" recomputes
        nothing, "full" all but the layer's input, "dots" all but the results of matrix
        products, "offload" everything from the input, which waits in host memory.
      shard_sequence: Whether between projections tokens are split over the model axis
        as well (Korthikanti et al. 2022, arXiv:2205.05198, section 4.2.2).
      unroll: Layers in one iteration of the loop over them: all of a small model, for
        on CPU a loop over layers was never faster; 1 keeps a deep one's program small.
    """

    dtype: str
    param_dtype: str
    remat: str
    shard_sequence: bool
    unroll: int

    def __post_init__(self):
        if self.remat not in REMAT:
            raise ValueError(f"remat {self.remat!r} is none of {REMAT}")

    @property
    def stream(self) -> str:
        """Returns the logical axis of the tokens in the residual stream."""
        return "split_tokens" if self.shard_sequence else "tokens"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters of a model (Hu et al. 2021, arXiv:2106.09685).

    Attributes:
      rank: Numbers between an adapter's two maps.
      alpha: An adapter's output is multiplied by `alpha / rank`.
      targets: The projections that have one, by the last part of their names in a
        Hugging Face file.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]

    def __post_init__(self):
        unknown = sorted(set(self.targets) - set(PROJECTIONS))
        if unknown or not self.targets:
            raise ValueError(f"targets {self.targets}: must be some of {PROJECTIONS}")
        if self.rank < 1:
            raise ValueError(f"rank {self.rank} must be at least 1")


def from_folder(folder: str | os.PathLike) -> Qwen3Config:
    """Reads the `config.json` of a Hugging Face model folder.

    A reward model (`…ForSequenceClassification`) has no head over the vocabulary: it
    is read as if that were tied to the embedding.

    Raises:
      ValueError: If a field is missing, or is unknown here, or has a value that would
        change the model in a way not implemented here; names the file, the field and
        the value.
    """
    path = pathlib.Path(folder) / "config.json"
    fields = json.loads(path.read_text())
    family = fields.get("model_type")
    if family not in _FAMILIES:
        raise ValueError(
            f"{path}: model_type={family!r}, supported: {sorted(_FAMILIES)}"
        )
    _refuse_unsupported(fields, path)
    fields = _llama_defaults(fields) if family == "llama" else fields
    if any(name.endswith(_CLASSIFIER) for name in fields.get("architectures") or ()):
        fields = fields | {"tie_word_embeddings": True}
    missing = [name for name in _FIELDS.values() if name not in fields]
    if missing:
        raise ValueError(f"{path} lacks {missing}")
    window, layers = _sliding(fields, path)
    theta, scaling = _rope(fields, path)
    return Qwen3Config(
        **{ours: fields[theirs] for ours, theirs in _FIELDS.items()},
        rope_theta=theta,
        rope_scaling=scaling,
        qk_norm=_FAMILIES[family],
        sliding_window=window,
        sliding_layers=layers,
    )


def to_hf(config: Qwen3Config) -> dict[str, Any]:
    """Returns the `config.json` from which transformers builds the same model."""
    family = "qwen3" if config.qk_norm else "llama"
    fields = {
        "architectures": ["Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"],
        "model_type": family,
        **_SUPPORTED,
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        # Read by transformers before version 5, and from version 5 on.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_theta": config.rope_theta, **_scaling_to_hf(config)},
    }
    if config.rope_scaling is not None:
        fields["rope_scaling"] = _scaling_to_hf(config)
    if config.sliding_layers:
        fields |= {
            "use_sliding_window": True,
            "sliding_window": config.sliding_window,
            "max_window_layers": min(config.sliding_layers),
            "layer_types": [
                "sliding_attention" if config.window(i) else "full_attention"
                for i in range(config.num_layers)
            ],
        }
    return fields


def _refuse_unsupported(fields: Mapping[str, Any], path: pathlib.Path) -> None:
    for name, supported in _SUPPORTED.items():
        value = fields.get(name, supported)
        if value != supported:
            raise ValueError(f"{path}: {name}={value!r}, supported: {supported!r}")
    known = {"model_type", *_FIELDS.values(), *_SUPPORTED, *_ROPE, *_WINDOW}
    for name in fields.keys() - known - _WITHOUT_EFFECT:
        raise ValueError(
            f"{path}: {name}={fields[name]!r} is unknown here; if it changes nothing "
            "about what the model computes, remove it"
        )


def _llama_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields with what older Llama files leave to the class."""
    heads = fields.get("num_attention_heads", 1)
    defaults = {
        "num_key_value_heads": heads,
        "head_dim": fields.get("hidden_size", 0) // heads,
        "tie_word_embeddings": False,
        "rope_theta": 10_000.0,
    }
    return defaults | dict(fields)


def _rope(
    fields: Mapping[str, Any], path: pathlib.Path
) -> tuple[float, ropes.Scaling | None]:
    """Reads either form: `rope_theta` beside `rope_scaling`, or `rope_parameters`."""
    numbers = dict(fields.get("rope_parameters") or fields.get("rope_scaling") or {})
    theta = numbers.pop("rope_theta", fields.get("rope_theta"))
    if theta is None:
        raise ValueError(f"{path} lacks rope_theta")
    older = numbers.pop("type", "default")
    kind = numbers.pop("rope_type", older)
    take = numbers.pop
    try:
        match kind:
            case "default":
                scaling = None
            case "yarn":
                factor = float(take("factor"))
                scaling = ropes.Yarn(
                    factor=factor,
                    original_positions=take("original_max_position_embeddings"),
                    beta_fast=float(take("beta_fast", None) or 32),
                    beta_slow=float(take("beta_slow", None) or 1),
                    attention_factor=float(
                        take("attention_factor", None) or 0.1 * math.log(factor) + 1
                    ),
                )
            case "llama3":
                scaling = ropes.Llama3(
                    factor=float(take("factor")),
                    low_freq_factor=float(take("low_freq_factor")),
                    high_freq_factor=float(take("high_freq_factor")),
                    original_positions=take("original_max_position_embeddings"),
                )
            case _:
                raise ValueError(f"{path}: rope_type={kind!r} is not supported")
    except KeyError as error:
        raise ValueError(f"{path}: the rope of type {kind!r} lacks {error}") from error
    if numbers:
        raise ValueError(f"{path}: the rope of type {kind!r} has unknown {numbers}")
    return float(theta), scaling


def _scaling_to_hf(config: Qwen3Config) -> dict[str, Any]:
    match config.rope_scaling:
        case None:
            return {"rope_type": "default"}
        case ropes.Yarn() as yarn:
            kind, numbers = "yarn", dataclasses.asdict(yarn)
        case ropes.Llama3() as llama:
            kind, numbers = "llama3", dataclasses.asdict(llama)
    original = numbers.pop("original_positions")
    return {
        "rope_type": kind, **numbers, "original_max_position_embeddings": original
    }  # fmt: skip


def _sliding(
    fields: Mapping[str, Any], path: pathlib.Path
) -> tuple[int | None, tuple[int, ...]]:
    """Returns the window and the layers that have it."""
    count = fields["num_hidden_layers"]
    window = fields.get("sliding_window")
    used = fields.get("use_sliding_window", False) and window is not None
    kinds = fields.get("layer_types")
    if kinds is None:
        first = fields.get("max_window_layers", count) if used else count
        kinds = ["full_attention"] * first + ["sliding_attention"] * (count - first)
    other = set(kinds) - {"full_attention", "sliding_attention"}
    if other or len(kinds) != count:
        raise ValueError(
            f"{path}: layer_types has {len(kinds)} layers of {sorted(set(kinds))}"
        )
    layers = tuple(i for i, kind in enumerate(kinds) if kind == "sliding_attention")
    if layers and not used:
        raise ValueError(
            f"{path}: layer_types has sliding_attention, but sliding_window={window!r} "
            f"and use_sliding_window={fields.get('use_sliding_window')!r}"
        )
    return (window, layers) if layers else (None, ())
