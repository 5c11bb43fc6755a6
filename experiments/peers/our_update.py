"""One process that measures our update; see `measure.py`."""

from collections.abc import Mapping
import functools
import pathlib
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from datachef_jax import types
from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.parallel import sharding
from datachef_jax.rl import logprobs
from datachef_jax.rl import losses
from datachef_jax.rl import update
from datachef_jax.training import optimizer as optimizers
from experiments import allocator
from experiments.peers import measure


def load(job: Mapping[str, Any]) -> Qwen3:
    """Reads the weights; without a folder they are random."""
    names = ("dtype", "param_dtype", "remat", "unroll")
    compute = Compute(**{name: job[name] for name in names}, shard_sequence=False)
    if job["folder"]:
        return weights.load(job["folder"], compute)
    return weights.random(Qwen3Config(**job["sizes"]), compute, seed=job["seed"])


def program(job: Mapping[str, Any], model: Qwen3) -> measure.Step:
    """Returns the update of the training loop, on one batch again and again."""
    graphdef, params = nnx.split(model, nnx.Param)
    optimizer = optimizers.adamw(warmup_steps=0, **job["optimizer"])
    new_tokens, micro_batch = job["new_tokens"], job["micro_batch"]
    apply = update.make(
        score(graphdef, new_tokens=new_tokens),
        objective(new_tokens=new_tokens, **job["objective"]),
        optimizer,
        micro_batch=micro_batch,
        updates_per_step=1,
    )
    batch = read_batch(pathlib.Path(job["batch"]))
    state = [params, optimizer.init(params)]

    def step() -> tuple[float, float]:
        *state[:], metrics = apply(*state, nnx.State({}), batch)
        jax.block_until_ready(state)
        return metrics["policy/loss"], metrics["policy/grad_norm"]

    return step


def score(graphdef: nnx.GraphDef, *, new_tokens: int) -> update.Score:
    """Binds what scores completions."""
    return functools.partial(
        logprobs.completion_logprobs,
        graphdef,
        max_new_tokens=new_tokens,
        temperature=1.0,
    )


def objective(
    *, clip_low: float, clip_high: float, new_tokens: int
) -> update.Objective:
    """Returns the clipped ratio of every token, all tokens counting the same."""
    surrogate = functools.partial(
        losses.clipped, clip_low=clip_low, clip_high=clip_high
    )
    return update.Objective(
        gain=functools.partial(
            losses.objective, ratio=losses.token_ratio, surrogate=surrogate
        ),
        weights=functools.partial(
            losses.token_weights, per="token", max_new_tokens=new_tokens
        ),
        engine_weights=None,
        kl=functools.partial(losses.kl_to_reference, estimator="k3"),
        kl_weight=0.0,
    )


def read_batch(path: pathlib.Path) -> types.RolloutBatch:
    """Reads rows as `bench_update.py` has written them."""
    with np.load(path) as arrays:
        return types.RolloutBatch(
            **{name: jnp.asarray(array) for name, array in arrays.items()}
        )


def _device_peak_bytes() -> int:
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", 0)


if __name__ == "__main__":
    if jax.default_backend() == "cpu":
        allocator.keep_freed_memory()  # as `run.py` does
    with jax.set_mesh(sharding.make_mesh(data=1, model=1)):
        measure.main(
            load,
            program,
            packages=("jax", "jaxlib", "flax", "optax"),
            device_peak_bytes=_device_peak_bytes,
        )
