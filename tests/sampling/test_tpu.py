"""The engine's program compiles for TPUs, on a machine without one."""

import re

from flax import nnx
import jax
import jax.numpy as jnp
import pytest

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import int8_decoder
from datachef_jax.models.qwen3 import layout
from datachef_jax.models.qwen3.quantize import Stored
from datachef_jax.parallel import sharding
from datachef_jax.sampling import grammar
from datachef_jax.sampling import shards
from datachef_jax.sampling import state

pytest.importorskip("libtpu")  # requirements-parity.txt
from tests.rl import test_tpu  # noqa: E402

pytestmark = pytest.mark.parity
make_tpu_mesh = test_tpu.make_tpu_mesh

_CONFIG = qwen3_config.Qwen3Config(
    vocab_size=256,
    hidden_size=256,
    intermediate_size=256,
    num_layers=1,
    num_heads=16,
    num_kv_heads=8,
    head_dim=128,
    rope_theta=1e6,
    rms_norm_eps=1e-6,
    tie_embeddings=True,
    max_positions=32_768,
)
_COMPUTE = qwen3_config.Compute(
    dtype="bfloat16",
    param_dtype="bfloat16",
    remat="none",
    shard_sequence=False,
    unroll=1,
)
_SIZES = state.Sizes(
    rows=16,
    prompts=8,
    group=8,
    pages=2048,
    page_size=64,
    max_prompt=1024,
    max_new_tokens=1024,
    read_tokens=512,
    read_prompts=8,
    reads=2,
    stop_ids=4,
    candidates=8,
    grammars=2,
    grammar_states=8,
    grammar_classes=8,
)


def _placed(tree, placements):
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        tree,
        placements,
    )


def _state(pages_dtype):
    """Returns the shapes of an empty state, where the compiler puts them."""
    arguments = _CONFIG, _COMPUTE.dtype, _SIZES, pages_dtype
    placements = shards.empty.lower(*arguments).compile().output_shardings
    shapes = jax.eval_shape(lambda: shards.empty(*arguments))
    return _placed(shapes, placements)


def _decoder(mesh, stored):
    """Returns the decoder's graph and the shapes of its weights, in their places."""
    model, stacked = nnx.split(layout.abstract(_CONFIG, _COMPUTE), nnx.Param)
    placements, made = layout.shardings(stacked), []

    def take_apart(stacked):
        decoder = int8_decoder.decoder(nnx.merge(model, stacked), stored)
        graphdef, params = nnx.split(decoder, nnx.Param)
        made.append(graphdef)
        return params

    shapes = jax.eval_shape(take_apart, stacked)

    def put(path, param):
        layered, name = path[0] == "layers", path[-1]
        path_there = (path[0], *path[2:]) if layered else path
        # What int8 has beside the numbers: one scale for each output.
        path_there = (*path_there[:-1], name.replace("scales", "weights"))
        if name == "embedding_scales":
            path_there = ("embedding",)
        spec = sharding.gathered(placements[path_there].spec)
        spec = spec[1:] if layered else spec
        x = param.get_value()
        spec = spec[-x.ndim :] if name == "scales" else spec[: x.ndim]
        place = jax.NamedSharding(mesh, jax.P(*spec))
        x = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
        return path, param.replace(x)

    flat = [put(*item) for item in nnx.to_flat_state(shapes)]
    return made[0], nnx.from_flat_state(flat)


@pytest.mark.parametrize(
    ("topology", "data", "model", "weights", "pages"),
    [
        ("v5e:2x2", 1, 4, "int8", "float8"),
        ("v5e:2x2", 2, 2, "same", "same"),
        ("v5p:2x2x1", 1, 1, "same", "float8"),
        ("v6e:2x2", 1, 1, "int8", "same"),
    ],
)
def test_the_program_compiles_and_fills_its_pages_in_place(
    topology, data, model, weights, pages, make_tpu_mesh
):
    mesh = make_tpu_mesh(topology, data=data, model=model)
    everywhere = jax.NamedSharding(mesh, jax.P())
    stored = Stored(weights=weights, pages=pages)
    pages_dtype = stored.pages_dtype(_COMPUTE.dtype)
    with jax.set_mesh(mesh):
        graphdef, params = _decoder(mesh, stored)
        table = jax.eval_shape(
            lambda: (
                grammar.Grammars(
                    slots=_SIZES.grammars,
                    states=_SIZES.grammar_states,
                    classes=_SIZES.grammar_classes,
                    vocab_size=_CONFIG.vocab_size,
                ).table
            )
        )
        whole = (table, *[jax.ShapeDtypeStruct((), jnp.int32)] * 3)
        whole = _placed(whole, jax.tree.map(lambda _: everywhere, whole))
        compiled = shards.run.lower(
            params,
            _state(pages_dtype),
            *whole,
            graphdef=graphdef,
            sizes=_SIZES,
            end_id=1,
        ).compile()
    # One kernel for what is decoded, and in the last layer, which is the only one here,
    # two for what is read: each prompt's last token, and all if they are asked for.
    text = compiled.as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 3
    heads = 2 * _CONFIG.num_kv_heads // model  # in each shard of the data axis
    pool = _SIZES.pages * _SIZES.page_size * heads * _CONFIG.head_dim
    pool *= jnp.dtype(pages_dtype).itemsize
    # int8 is what is multiplied: nowhere is there a wider copy of a matrix.
    wide = rf"(bf16|f32)\[{_CONFIG.hidden_size},{heads * _CONFIG.head_dim}\]"
    assert bool(re.search(wide, text)) == (weights == "same")
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes > pool > 8 * memory.temp_size_in_bytes
