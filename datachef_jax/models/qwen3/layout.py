"""A Qwen3 before it has numbers: shapes, where they live, their names in files."""

from collections.abc import Iterator
import contextlib

from flax import nnx
import jax

from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Lora
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.parallel import sharding

# Path of a parameter within a layer -> tensor name after "model.layers.N." in a
# Hugging Face file. Matrices are the transposes of those there, except `_OUTER`'s.
_LAYER = {
    ("attention_norm", "scale"): "input_layernorm.weight",
    ("attention", "query", "weights"): "self_attn.q_proj.weight",
    ("attention", "key", "weights"): "self_attn.k_proj.weight",
    ("attention", "value", "weights"): "self_attn.v_proj.weight",
    ("attention", "out", "weights"): "self_attn.o_proj.weight",
    ("attention", "query_norm", "scale"): "self_attn.q_norm.weight",
    ("attention", "key_norm", "scale"): "self_attn.k_norm.weight",
    ("mlp_norm", "scale"): "post_attention_layernorm.weight",
    ("mlp", "gate", "weights"): "mlp.gate_proj.weight",
    ("mlp", "up", "weights"): "mlp.up_proj.weight",
    ("mlp", "down", "weights"): "mlp.down_proj.weight",
}
_OUTER = {
    ("embedding",): "model.embed_tokens.weight",
    ("norm", "scale"): "model.norm.weight",
    ("head",): "lm_head.weight",
}


def abstract(
    config: Qwen3Config, compute: Compute, *, lora: Lora | None = None
) -> Qwen3:
    """Returns a model of shapes and dtypes, which knows how it is to be split."""
    with placement():
        return nnx.eval_shape(
            lambda: Qwen3(config, compute, lora=lora, rngs=nnx.Rngs(0))
        )


@contextlib.contextmanager
def placement() -> Iterator[None]:
    """Splits weights created inside by the one table; without a mesh, nothing is."""
    meshed = not jax.sharding.get_abstract_mesh().empty
    with (
        nnx.logical_axis_rules(sharding.AXIS_RULES),
        nnx.use_eager_sharding(meshed),
    ):
        yield


def shardings(shapes: nnx.State) -> dict[tuple, jax.sharding.Sharding]:
    """Returns where each parameter is to live, by path."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return {path: here for path, _ in nnx.to_flat_state(shapes)}
    with placement():
        named = nnx.to_flat_state(nnx.get_named_sharding(shapes, mesh))
    return {path: param.get_value() for path, param in named}


def names(path: tuple, num_layers: int) -> list[str]:
    """Returns the Hugging Face names of the tensors at a path of a model's state."""
    if path[0] == "layers":
        return [f"model.layers.{i}.{_LAYER[path[1:]]}" for i in range(num_layers)]
    return [_OUTER[path]]


def turned(path: tuple) -> bool:
    """Says whether we keep a parameter as the transpose of the stored tensor."""
    return path not in (("embedding",), ("head",))
