"""Tunix's own Qwen3, with the weights of a checkpoint; wants `google-tunix`."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from tunix.models.qwen3 import model as qwen3
from tunix.models.qwen3 import params as qwen3_params


def mesh() -> jax.sharding.Mesh:
    """Returns a mesh of one device, with the axes that Tunix's Qwen3 is split over."""
    return jax.make_mesh((1, 1), ("fsdp", "tp"), (jax.sharding.AxisType.Auto,) * 2)


def load(
    job: Mapping[str, Any], *, dtype: str, param_dtype: str, **how: Any
) -> qwen3.Qwen3:
    """Reads the weights.

    Args:
      job: Its `folder` holds the checkpoint, its `sizes` are ours.
      dtype: Of activations.
      param_dtype: Of weights.
      how: Further fields of Tunix's config.
    """
    sizes, stored = job["sizes"], jnp.dtype(param_dtype)
    config = qwen3.ModelConfig(
        num_layers=sizes["num_layers"],
        vocab_size=sizes["vocab_size"],
        embed_dim=sizes["hidden_size"],
        hidden_dim=sizes["intermediate_size"],
        num_heads=sizes["num_heads"],
        head_dim=sizes["head_dim"],
        num_kv_heads=sizes["num_kv_heads"],
        rope_theta=sizes["rope_theta"],
        norm_eps=sizes["rms_norm_eps"],
        use_tied_embedding=sizes["tie_embeddings"],
        dtype=jnp.dtype(dtype),
        param_dtype=stored,
        **how,
    )
    return qwen3_params.create_model_from_safe_tensors(
        job["folder"], config, mesh(), dtype=stored
    )
