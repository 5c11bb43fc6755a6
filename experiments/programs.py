"""The programs of a run, traced on shapes: for compiling without data or devices."""

from collections.abc import Callable, Iterator
import dataclasses
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections as mlc

from datachef_jax import types
from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.models.qwen3 import int8_decoder
from datachef_jax.models.qwen3 import layout
from datachef_jax.parallel import sharding
from datachef_jax.rl import update
from datachef_jax.sampling import grammar
from datachef_jax.sampling import reshard
from datachef_jax.sampling import shards
from experiments import engines
from experiments import grpo
from experiments import models
from experiments import parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """One program.

    Attributes:
      name: For the table.
      shape: Its batch and lengths, in words.
      trace: Traces it, under the mesh that is set.
      trips: How often its loop without a fixed length runs, at most.
    """

    name: str
    shape: str
    trace: Callable[[], jax.stages.Traced]
    trips: int = 1


def of_run(config: mlc.ConfigDict, *, hbm_bytes: int) -> list[Program]:
    """Returns all programs of a run on the mesh that is set.

    Args:
      config: Of `configs/grpo_qwen3.py`, with checkpoints of published sizes.
      hbm_bytes: Memory of a device.

    Raises:
      UserError: If a size is not published.
    """
    policy = _abstract(config, "policy")
    judge, base = _abstract(config, "judge"), _abstract(config, "base")
    return [
        *_training(config, policy),
        _engine(config, policy, "policy", hbm_bytes=hbm_bytes),
        _engine(config, judge, "judge", hbm_bytes=hbm_bytes),
        _finetuning(config, base),
    ]


def grpo_update(config: mlc.ConfigDict, micro_batch: int) -> Program:
    """Returns the policy's update alone, with another micro-batch."""
    config = config.copy_and_resolve_references()
    config.rl.micro_batch = micro_batch
    return next(iter(_training(config, _abstract(config, "policy"))))


def _abstract(config: mlc.ConfigDict, section: str) -> models.Model:
    """Returns a model of shapes that know where they are to live."""
    sizes = models.sizes(config, section, vocab_size=0)
    compute = models.compute(config, section)
    adapters = models.adapters(config, section)
    model = layout.abstract(sizes, compute, lora=adapters)
    graphdef, shapes = nnx.split(model, nnx.Param)
    places = layout.shardings(shapes)
    placed = [
        (path, param.replace(_shaped(param.get_value(), places[path])))
        for path, param in nnx.to_flat_state(shapes)
    ]
    return models.Model(graphdef=graphdef, params=nnx.from_flat_state(placed))


def _training(config: mlc.ConfigDict, policy: models.Model) -> Iterator[Program]:
    """Yields the update, the scoring of a batch, and the way to the sampler."""
    rl, sampling = config.rl, config.sampling
    rows = rl.prompts_per_step * rl.group_size
    time = sampling.max_prompt_tokens + sampling.max_new_tokens
    batch = types.RolloutBatch(
        tokens=_rows((rows, time), jnp.int32),
        completion_mask=_rows((rows, time), jnp.bool_),
        behavior_logprobs=_rows((rows, time), jnp.float32),
        advantages=_rows((rows,), jnp.float32),
    )
    learned, frozen = policy.learned_and_frozen()
    optimizer = grpo.optimizer(config)
    reference = _rows((rows, time), jnp.float32) if rl.kl_weight else None
    score = grpo.score(config, policy.graphdef)
    shape = f"{rows} x {time}, {rl.micro_batch} at a time"
    yield Program(
        name="GRPO update",
        shape=shape,
        trace=lambda: update.program(
            score,
            grpo.objective(config),
            optimizer,
            micro_batch=rl.micro_batch,
            updates_per_step=rl.updates_per_step,
        ).trace(
            learned,
            _opt_state(optimizer, learned),
            frozen,
            batch._replace(ref_logprobs=reference),
        ),
    )
    yield Program(
        name="reference scoring",
        shape=shape,
        trace=lambda: update.scorer(score, micro_batch=rl.micro_batch).trace(
            policy.params, batch
        ),
    )
    largest = max(jax.tree.leaves(policy.params), key=lambda x: x.size)
    dtype = config.policy.dtype
    yield Program(
        name="reshard to the sampler",
        shape=f"largest array, {dtype}",
        trace=lambda: reshard.convert.trace(
            largest, spec=largest.sharding.spec, dtype=dtype
        ),
    )


def _engine(
    config: mlc.ConfigDict, model: models.Model, name: str, *, hbm_bytes: int
) -> Program:
    """Returns a round of an engine, with all pages that fit beside its weights."""
    graphdef, params = _decoder(config, model)
    whole = nnx.merge(model.graphdef, model.params)
    held = sum(_local_bytes(x) for x in jax.tree.leaves(params))
    sizes = engines.sizes(
        config,
        whole.config,
        config.policy.dtype,
        [engines.Needs(config).of(name)],
        free_bytes=hbm_bytes - held - config.engine.reserve_bytes,
    )
    number = jax.ShapeDtypeStruct((), jnp.int32)
    table = jax.eval_shape(
        lambda: (
            grammar.Grammars(
                slots=0, states=1, classes=1, vocab_size=whole.config.vocab_size
            ).table
        )
    )

    def trace() -> jax.stages.Traced:
        dtype = config.policy.dtype
        pages_dtype = engines.stored(config).pages_dtype(dtype)
        empty = shards.empty.trace(whole.config, dtype, sizes, pages_dtype)
        places = empty.lower().compile().output_shardings
        state = jax.tree.map(_shaped, empty.out_info, places)
        return shards.run.trace(
            params,
            state,
            table,
            *(number,) * 3,
            graphdef=graphdef,
            sizes=sizes,
            end_id=0,
        )

    return Program(
        name=f"engine's round, {name}",
        shape=(
            f"{sizes.rows} rows, {sizes.read_tokens} read, "
            f"{sizes.pages} x {sizes.page_size} positions"
        ),
        trace=trace,
    )


def _decoder(
    config: mlc.ConfigDict, model: models.Model
) -> tuple[nnx.GraphDef, nnx.State]:
    """Returns the weights of an engine as shapes, layer by layer."""
    found = []

    def take_apart(params: nnx.State) -> nnx.State:
        whole = nnx.merge(model.graphdef, params)
        decoder = int8_decoder.decoder(whole, engines.stored(config))
        graphdef, state = nnx.split(decoder, nnx.Param)
        found.append(graphdef)
        return state

    placed = [
        (path, param.replace(shape))
        for path, param, shape in _with_sources(
            jax.eval_shape(take_apart, _converted(model.params, config.policy.dtype)),
            model.params,
        )
    ]
    return found[0], nnx.from_flat_state(placed)


def _converted(params: nnx.State, dtype: str) -> nnx.State:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), params)


def _with_sources(
    state: nnx.State, stacked: nnx.State
) -> Iterator[tuple[tuple[Any, ...], Any, jax.ShapeDtypeStruct]]:
    """Yields the decoder's weights, and each where `reshard` would put it."""
    mesh, sources = jax.sharding.get_mesh(), dict(nnx.to_flat_state(stacked))
    for path, param in nnx.to_flat_state(state):
        layered = path[0] == "layers"
        source = sources.get(("layers", *path[2:]) if layered else path)
        spec = jax.P()  # of the scales of int8 weights
        if source is not None:
            spec = sharding.gathered(source.get_value().sharding.spec)
            spec = jax.P(*spec[1:]) if layered else spec
        place = jax.NamedSharding(mesh, spec)
        yield path, param, _shaped(param.get_value(), place)


def _local_bytes(x: jax.ShapeDtypeStruct) -> int:
    """Returns what an array takes on one device."""
    return math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize


def _finetuning(config: mlc.ConfigDict, base: models.Model) -> Program:
    section = config.finetune
    tokens = _rows((section.batch_rows, section.row_tokens), jnp.int32)
    targets = _rows((section.batch_rows, section.targets_per_row), jnp.int32)
    learned, frozen = base.learned_and_frozen()
    optimizer = parts.finetune_optimizer(config)
    return Program(
        name="SFT update of the target",
        shape=f"{section.batch_rows} x {section.row_tokens}",
        trace=lambda: sft.update.trace(
            sft.SftState(
                params=learned,
                opt_state=_opt_state(optimizer, learned),
                step=jax.ShapeDtypeStruct((), jnp.int32),
            ),
            frozen,
            packing.Batch(
                tokens=tokens, segments=tokens, positions=tokens, targets=targets
            ),
            graphdef=base.graphdef,
            optimizer=optimizer,
        ),
    )


def _shaped(x: jax.ShapeDtypeStruct, place: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)


def _rows(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """Returns an array whose rows are split over the data axis, if it divides them."""
    return _split(shape, dtype, "batch", *(None,) * (len(shape) - 1))


def _split(
    shape: tuple[int, ...], dtype: Any, *axes: str | None
) -> jax.ShapeDtypeStruct:
    """Returns an array that lies where `sharding.constrain` would put it."""
    mesh = jax.sharding.get_mesh()
    place = jax.NamedSharding(mesh, sharding.spec(shape, axes))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


def _opt_state(optimizer: Any, params: nnx.State) -> Any:
    """Returns an optimizer's state, each array where the weights of its name live."""
    named = jax.tree_util.keystr
    places = {named(path): x.sharding for path, x in jax.tree.leaves_with_path(params)}
    everywhere = jax.NamedSharding(jax.sharding.get_mesh(), jax.P())

    def place(path: tuple[Any, ...], x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        ends = (named(path[i:]) for i in range(len(path)))
        found = [places[end] for end in ends if end in places]
        return _shaped(x, found[0] if found else everywhere)

    return jax.tree.map_with_path(place, jax.eval_shape(optimizer.init, params))
