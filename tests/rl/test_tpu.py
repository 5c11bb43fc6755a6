"""The policy's gradient compiles ahead of time for a TPU, on a machine without one."""

import functools

from flax import nnx
import jax
from jax.experimental import topologies
import jax.numpy as jnp
import pytest

from configs import quickstart
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.parallel import sharding
from datachef_jax.rl import logprobs

pytest.importorskip("libtpu")  # requirements-parity.txt
pytestmark = pytest.mark.parity

_ROWS, _TIME, _NEW = 8, 512, 128
_MINI = Qwen3Config(**quickstart.get_config().architecture, vocab_size=1024)
# Without them the wheel looks for a TPU's metadata server for minutes.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # there is no TPU to be shared
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


@pytest.fixture
def make_tpu_mesh(monkeypatch):
    """Returns a function that makes a mesh of the first chips of a topology."""
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def make(topology, *, data, model):
        found = topologies.get_topology_desc(topology, platform="tpu").devices
        return sharding.make_mesh(data=data, model=model, devices=found[: data * model])

    return make


@pytest.fixture
def tpu_mesh(make_tpu_mesh):
    """Returns a mesh of the four chips of a host: 2 x data, 2 x model."""
    return make_tpu_mesh("v5e:2x2", data=2, model=2)


def _abstract(mesh):
    """Returns the mini policy with bfloat16 compute, as shapes with their places."""

    def init():
        compute = Compute(
            dtype="bfloat16",
            param_dtype="float32",
            remat="full",
            shard_sequence=True,
            unroll=1,
        )
        return Qwen3(_MINI, compute, rngs=nnx.Rngs(0))

    graphdef, shapes = nnx.split(nnx.eval_shape(init), nnx.Param)
    places = nnx.get_named_sharding(shapes, mesh)
    params = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        shapes,
        places,
    )
    return graphdef, params


def test_the_gradient_compiles_for_four_sharded_chips(tpu_mesh):
    with jax.set_mesh(tpu_mesh), nnx.logical_axis_rules(sharding.AXIS_RULES):
        graphdef, params = _abstract(tpu_mesh)
        rows = jax.NamedSharding(tpu_mesh, jax.P("data"))
        shaped = functools.partial(jax.ShapeDtypeStruct, sharding=rows)

        @jax.jit
        def gradient(params, tokens, mask):
            def loss(params):
                chosen, _ = logprobs.completion_logprobs(
                    graphdef,
                    params,
                    tokens,
                    mask,
                    max_new_tokens=_NEW,
                    temperature=1.0,
                )
                return -chosen.sum()

            return jax.grad(loss)(params)

        compiled = gradient.lower(
            params,
            shaped((_ROWS, _TIME), jnp.int32),
            shaped((_ROWS, _TIME), jnp.bool_),
        ).compile()
    assert "all-reduce" in compiled.as_text()
    whole = sum(4 * x.size for x in jax.tree.leaves(params))
    held = compiled.memory_analysis().argument_size_in_bytes
    assert held < 0.4 * whole  # a quarter of the weights, and its part of the batch
