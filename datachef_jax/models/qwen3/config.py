"""The sizes of a Qwen3 model, and the `config.json` they are kept in."""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

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
# What the dense Qwen3 models have, and the only values this implementation knows.
_SUPPORTED = {
    "model_type": "qwen3",
    "hidden_act": "silu",
    "attention_bias": False,
    "use_sliding_window": False,
    "rope_scaling": None,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3Config:
    """The sizes of a dense Qwen3 model (arXiv:2505.09388, table 1).

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

    def __post_init__(self):
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is no multiple of "
                f"num_kv_heads {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for RoPE, got {self.head_dim}")


def from_folder(folder: str | os.PathLike) -> Qwen3Config:
    """Reads the `config.json` of a Hugging Face model folder.

    Raises:
      ValueError: If a field is missing, or has a value that would change the model
        in a way not implemented here; names the file, the field and the value.
    """
    path = pathlib.Path(folder) / "config.json"
    fields = json.loads(path.read_text())
    _refuse_unsupported(fields, path)
    missing = [name for name in _FIELDS.values() if name not in fields]
    if missing:
        raise ValueError(f"{path} lacks {missing}")
    return Qwen3Config(
        **{ours: fields[theirs] for ours, theirs in _FIELDS.items()},
        rope_theta=_rope_theta(fields, path),
    )


def to_hf(config: Qwen3Config) -> dict[str, Any]:
    """Returns the `config.json` from which transformers builds the same model."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        **_SUPPORTED,
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        # Read by transformers before version 5, and from version 5 on.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
    }


def _refuse_unsupported(fields: Mapping[str, Any], path: pathlib.Path):
    for name, supported in _SUPPORTED.items():
        # Fields were added over time; an absent one has the supported value.
        value = fields.get(name, supported)
        if value != supported:
            raise ValueError(f"{path}: {name}={value!r}, supported: {supported!r}")
    other = set(fields.get("layer_types") or []) - {"full_attention"}
    if other:
        raise ValueError(f"{path}: layer_types has {sorted(other)}")


def _rope_theta(fields: Mapping[str, Any], path: pathlib.Path) -> float:
    rope = fields.get("rope_parameters") or {}
    kind = rope.get("rope_type", "default")
    if kind != "default":
        raise ValueError(f"{path}: rope_parameters.rope_type={kind!r}")
    theta = rope.get("rope_theta", fields.get("rope_theta"))
    if theta is None:
        raise ValueError(f"{path} lacks rope_theta")
    return float(theta)
