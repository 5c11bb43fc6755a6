"""Every program that runs on a mesh computes on eight devices what it does on one."""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datachef_jax import types
from datachef_jax.finetune import optimizer as optimizers
from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.models.qwen3 import lora
from datachef_jax.models.qwen3 import weights
from datachef_jax.rl import logprobs
from datachef_jax.rl import update
from datachef_jax.sampling import reshard
from datachef_jax.sampling.request import Sampling
from tests import engines
from tests import objectives
from tests.models.qwen3 import test_lora
from tests.models.qwen3 import tiny

_ROWS, _PROMPT, _NEW = 16, 6, 5
_WHOLE = nnx.State({})


@pytest.fixture
def shard_sequence():
    """Returns whether tokens are split over the model axis too."""
    return True


@pytest.fixture
def models(mesh, shard_sequence, tmp_path):
    """Returns the same model twice: on one device, and on the eight of a mesh."""
    compute = dataclasses.replace(
        tiny.COMPUTE, remat="full", shard_sequence=shard_sequence
    )
    one = tiny.make(tiny.UNTIED, compute)
    weights.save(one, tmp_path, stored_dtype="float32")
    with jax.set_mesh(mesh):
        return one, weights.load(tmp_path, compute)


def _both(run, models, mesh):
    """Runs on one device and on the mesh."""
    one, split = (nnx.split(model, nnx.Param) for model in models)
    expected = run(*one)
    with jax.set_mesh(mesh):
        return run(*split), expected


def _assert_close(got, expected, **tolerance):
    # By leaves: variables also know whether they were made on a mesh.
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def _assert_split(params, fewest):
    """Checks that no large array lies whole on a device."""
    for x in jax.tree.leaves(params):
        if x.ndim > 2:
            piece = x.addressable_shards[0].data.size
            assert piece * fewest <= x.size, x.sharding


def _batch():
    shape = (_ROWS, _PROMPT + _NEW)
    tokens = jax.random.randint(jax.random.key(1), shape, 0, 64)
    lengths = _PROMPT + 1 + jnp.arange(_ROWS) % _NEW
    steps = jnp.arange(_PROMPT + _NEW)[None, :]
    mask = (steps >= _PROMPT) & (steps < lengths[:, None])
    return types.RolloutBatch(
        tokens,
        mask,
        jnp.where(mask, -4.0, 0.0),
        jnp.linspace(-1.0, 1.0, _ROWS),
    )


def _score(graphdef):
    return functools.partial(
        logprobs.completion_logprobs, graphdef, max_new_tokens=_NEW, temperature=1.0
    )


def _updated(graphdef, params, frozen=_WHOLE):
    objective = objectives.grpo(_NEW, clip=9.0, per="token", kl_weight=0.1)
    reference = update.scorer(_score(graphdef), micro_batch=8)
    whole = nnx.merge_state(params, frozen)
    shifted = jax.tree.map(lambda x: 0.9 * x, whole)
    batch = _batch()
    batch = batch._replace(ref_logprobs=reference(shifted, batch))
    # Plain gradients: Adam would blow up the last bits of the smallest.
    optimizer = optax.sgd(0.1, momentum=0.9)
    step = update.make(
        _score(graphdef), objective, optimizer, micro_batch=8, updates_per_step=2
    )
    params = jax.tree.map(jnp.copy, params)
    params, opt_state, metrics = step(params, optimizer.init(params), frozen, batch)
    return params, opt_state, metrics


def test_the_update(models, mesh):
    got, expected = _both(_updated, models, mesh)
    assert expected[2]["policy/grad_norm"] > 0.1
    _assert_close(got[0], expected[0], atol=2e-5)
    _assert_close(got[2], expected[2], rtol=2e-4)
    _assert_split(got[:2], 8)  # the optimizer's state as well


def test_the_update_of_adapters(models, mesh):
    def run(graphdef, params):
        model = nnx.merge(graphdef, params)
        made = lora.add(model, test_lora.SETTINGS, seed=0)
        graphdef, adapters, rest = nnx.split(made, nnx.LoRAParam, ...)
        adapters = jax.tree.map(lambda x: x + 0.1, adapters)
        return _updated(graphdef, adapters, rest)

    got, expected = _both(run, models, mesh)
    start = nnx.state(lora.add(models[0], test_lora.SETTINGS, seed=0), nnx.LoRAParam)
    moved = jax.tree.map(lambda a, b: abs(a - b - 0.1).max(), expected[0], start)
    assert min(jax.tree.leaves(moved)) > 1e-4
    _assert_close(got[0], expected[0], atol=2e-5)


@pytest.mark.parametrize(
    "name, shard_sequence", [("adamw", False), ("muon", True)], ids=["adamw", "muon"]
)
def test_fine_tuning(name, models, mesh):
    rng = np.random.default_rng(0)
    examples = [
        packing.TokenExample(
            tokens=tuple(rng.integers(0, 64, 7).tolist()),
            loss_mask=(False,) * 3 + (True,) * 4,
        )
        for _ in range(40)
    ]
    optimizer = getattr(optimizers, name)(
        1e-2,
        warmup_steps=1,
        steps=3,
        b1=0.9,
        b2=0.9,
        weight_decay=0.1,
        max_grad_norm=1.0,
    )

    def run(graphdef, params):
        batches = packing.batches(
            examples, rows=8, row_tokens=16, row_targets=8, seed=0
        )
        state, losses = sft.fit(
            graphdef,
            sft.start(params, optimizer),
            batches,
            steps=3,
            optimizer=optimizer,
            sync_every=3,
            on_step=lambda *_: None,
        )
        return losses, state

    got, expected = _both(run, models, mesh)
    assert expected[0][-1] != expected[0][0]
    _assert_close(got[0], expected[0], rtol=1e-4)
    _assert_split(got[1].params, 8)
    _assert_split(got[1].opt_state, 8)


def test_sampling_and_scoring(models, mesh):
    prompts = [[5, 9, 3], [1, 2, 3, 4, 5, 6], [60]]
    seeds = np.arange(12, dtype=np.uint32)

    def run(graphdef, params):
        client = engines.client(
            graphdef,
            reshard.for_sampling(params, dtype="float32"),
            max_prompt=8,
            max_new_tokens=_NEW,
            candidates=2,
            end_id=63,
        )
        completions = client.generate(
            prompts,
            group_size=4,
            seeds=seeds,
            sampling=Sampling(max_new_tokens=_NEW),
        )
        return completions, client.score(prompts, [3, 4])

    (got, scores), (expected, expected_scores) = _both(run, models, mesh)
    assert [c.tokens for c in got] == [c.tokens for c in expected]
    assert len({c.tokens for c in got}) > 8
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-4)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)


def test_the_engine_gets_weights_that_are_whole_along_the_data_axis(models, mesh):
    with jax.set_mesh(mesh):
        params = nnx.state(models[1], nnx.Param)
        got = reshard.for_sampling(params, dtype="bfloat16")
        counted = reshard.local_bytes(params, dtype="bfloat16")
    held = [x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(got)]
    assert counted == sum(held)
    for before, after in zip(*map(jax.tree.leaves, (params, got)), strict=True):
        assert after.dtype == jnp.bfloat16
        np.testing.assert_array_equal(before.astype(jnp.bfloat16), after)
        if before.ndim > 2:
            assert after.addressable_shards[0].data.size * 2 == after.size


def test_on_one_device_the_engine_gets_the_very_same_weights():
    params = nnx.state(tiny.make(), nnx.Param)
    assert reshard.for_sampling(params, dtype="float32") is params
