"""Tests for datachef_jax/rl/update.py."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datachef_jax import types
from datachef_jax.rl import losses
from datachef_jax.rl import update
from tests import objectives

_ROWS, _PROMPT, _NEW, _VOCAB = 8, 5, 4, 11
_NONE = nnx.State({})  # all weights learn
_SGD, _ADAM = optax.sgd(1.0), optax.adam(1e-3)


@jax.jit
def _score(params, tokens, mask):
    """Scores by a table of bigrams: a policy that compiles in no time."""
    logits = params["table"][...][jnp.roll(tokens, 1, axis=1)]
    table = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(table, tokens[..., None], -1)[..., 0]
    entropy = -(jnp.exp(table) * table).sum(-1)
    return jnp.where(mask, picked, 0.0), jnp.where(mask, entropy, 0.0)


def _params(seed):
    table = jax.random.normal(jax.random.key(seed), (_VOCAB, _VOCAB))
    return nnx.State({"table": nnx.Param(table)})


def _batch():
    """Returns random completions with the log-probabilities of `_params(0)`."""
    shape = (_ROWS, _PROMPT + _NEW)
    tokens = jax.random.randint(jax.random.key(1), shape, 0, _VOCAB)
    lengths = _PROMPT + 1 + jnp.arange(_ROWS) % _NEW
    steps = jnp.arange(_PROMPT + _NEW)[None, :]
    mask = (steps >= _PROMPT) & (steps < lengths[:, None])
    behavior, _ = _score(_params(0), tokens, mask)
    advantages = jnp.linspace(-1.0, 1.0, _ROWS)
    return types.RolloutBatch(tokens, mask, behavior, advantages)


_reference = update.scorer(_score, micro_batch=2)


@functools.cache
def _make(optimizer, **changes):
    settings = dict(score=_score, micro_batch=4, updates_per_step=1)
    settings |= {name: changes.pop(name) for name in settings if name in changes}
    objective = objectives.grpo(_NEW, **changes)
    return update.make(objective=objective, optimizer=optimizer, **settings)


def _run(params, batch, *, ref_params=None, **changes):
    """Takes one step of plain gradient descent from a copy of the weights."""
    if ref_params is not None:
        reference = _reference(ref_params, batch)
        batch = batch._replace(ref_logprobs=reference)
    params = jax.tree.map(jnp.copy, params)
    state = _SGD.init(params)
    after, _, metrics = _make(_SGD, **changes)(params, state, _NONE, batch)
    return after, metrics


def _assert_close(got, expected, **tolerance):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, **tolerance), got, expected
    )


def test_takes_the_gradient_step_of_the_whole_batch():
    params, batch = _params(0), _batch()
    after, metrics = _run(params, batch)

    @jax.jit
    @jax.grad
    def gradient_of(params):
        found, _ = _score(params, batch.tokens, batch.completion_mask)
        return -(found * batch.advantages[:, None]).sum() / (_ROWS * _NEW)

    gradient = gradient_of(params)
    expected = jax.tree.map(lambda p, g: p - g, params, gradient)
    _assert_close(after, expected, atol=1e-6)
    np.testing.assert_allclose(
        metrics["policy/grad_norm"], optax.tree.norm(gradient), rtol=1e-4
    )
    np.testing.assert_allclose(metrics["policy/ratio"], 1.0, atol=1e-5)
    np.testing.assert_allclose(metrics["policy/mismatch"], 0.0, atol=1e-5)
    assert metrics["policy/clip_fraction"] == 0.0
    assert 1.0 < metrics["policy/entropy"] < np.log(_VOCAB)


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_add_up_to_the_full_batch(micro_batch):
    params, batch = _params(0), _batch()
    reference = _params(2)
    run = functools.partial(_run, params, batch, ref_params=reference, kl_weight=1.0)
    whole, metrics = run(micro_batch=_ROWS)
    parts, part_metrics = run(micro_batch=micro_batch)
    _assert_close(parts, whole, atol=1e-6)
    _assert_close(part_metrics, metrics, rtol=1e-4, atol=1e-6)


def test_a_row_without_completion_tokens_changes_nothing():
    params, batch = _params(0), _batch()
    blank = batch._replace(
        completion_mask=batch.completion_mask.at[3].set(False),
        advantages=batch.advantages.at[3].set(0.0),
    )
    junk = blank._replace(
        tokens=blank.tokens.at[3].set(9),
        behavior_logprobs=blank.behavior_logprobs.at[3].set(-50.0),
    )
    run = functools.partial(_run, params, ref_params=_params(2), kl_weight=1.0)
    _assert_close(run(junk), run(blank), atol=1e-7)
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), run(batch)[0], run(blank)[0])
    assert max(jax.tree.leaves(moved)) > 1e-4


def test_several_updates_follow_one_another_on_one_batch():
    params, batch = _params(0), _batch()
    copy = functools.partial(jax.tree.map, jnp.copy)
    once = _make(_ADAM)
    start = copy(params)
    expected, state, first = once(start, _ADAM.init(start), _NONE, batch)
    expected, state, second = once(expected, state, _NONE, batch)

    twice = _make(_ADAM, updates_per_step=2)
    start = copy(params)
    got, _, metrics = twice(start, _ADAM.init(start), _NONE, batch)
    _assert_close(got, expected, atol=1e-6)
    assert metrics["policy/mismatch"] == pytest.approx(first["policy/mismatch"])
    assert second["policy/mismatch"] > 10 * first["policy/mismatch"]
    ratio = (first["policy/ratio"] + second["policy/ratio"]) / 2
    assert metrics["policy/ratio"] == pytest.approx(ratio, rel=1e-4)


def test_kl_pulls_back_to_the_reference():
    params, batch = _params(0), _batch()
    batch = batch._replace(advantages=jnp.zeros(_ROWS))
    reference = _params(2)
    run = functools.partial(_run, batch=batch, ref_params=reference)
    nearer, before = run(params, kl_weight=1.0)
    _, after = run(nearer, kl_weight=1.0)
    assert 0.0 < after["policy/kl"] < before["policy/kl"]
    same, at_home = run(reference, kl_weight=1.0)
    assert at_home["policy/kl"] == 0.0
    _assert_close(same, reference, atol=0.0)


def test_the_old_weights_are_given_up_and_nothing_recompiles():
    params, batch = _params(0), _batch()
    traces = []

    def counting(*args):
        traces.append(1)
        return _score(*args)

    step = _make(_ADAM, score=counting)
    old = jax.tree.leaves(params)[0]
    state = _ADAM.init(params)
    params, state, _ = step(params, state, _NONE, batch)
    assert old.is_deleted()
    traced = len(traces)
    step(params, state, _NONE, batch._replace(advantages=-batch.advantages))
    assert len(traces) == traced


def test_frozen_weights_are_used_and_stay():
    batch = _batch()
    shift = nnx.State({"shift": nnx.Param(jnp.linspace(0.0, 1.0, _VOCAB))})

    def shifted(params, *args):
        table = params["table"][...] + params["shift"][...][None]
        return _score(nnx.State({"table": nnx.Param(table)}), *args)

    start = _params(0)
    whole = nnx.merge_state(start, shift)
    expected, _ = _run(whole, batch, score=shifted)
    step = _make(_ADAM, score=shifted)
    params = jax.tree.map(jnp.copy, start)
    after, _, _ = step(params, _ADAM.init(start), shift, batch)
    assert list(after) == ["table"]
    assert not shift["shift"][...].is_deleted()
    moved = lambda x: np.sign(x["table"][...] - start["table"][...])
    np.testing.assert_array_equal(moved(after), moved(expected))
    plain, _ = _run(start, batch)
    assert (moved(plain) != moved(after)).any()


def test_a_metric_that_is_not_finite_is_named():
    params, batch = _params(0), _batch()
    batch = batch._replace(advantages=batch.advantages.at[0].set(jnp.nan))
    with pytest.raises(FloatingPointError, match="policy/loss is nan"):
        _run(params, batch)


def test_what_cannot_work_is_refused():
    params, batch = _params(0), _batch()
    with pytest.raises(ValueError, match="micro_batch 3 does not divide .* of 8"):
        _run(params, batch, micro_batch=3)
    with pytest.raises(ValueError, match="kl_weight is 0.1, but there is no reference"):
        _run(params, batch, kl_weight=0.1)
    distrusting = dict(
        engine_weights=functools.partial(losses.engine_weights, level="token", cap=2.0)
    )
    with pytest.raises(ValueError, match="2 updates need the log-probabilities before"):
        _run(params, batch, updates_per_step=2, **distrusting)


def test_a_reference_is_scored_as_by_the_update_itself():
    params, batch = _params(3), _batch()
    expected, _ = _score(params, batch.tokens, batch.completion_mask)
    np.testing.assert_allclose(_reference(params, batch), expected, atol=1e-6)


@pytest.mark.parametrize("updates_per_step", [1, 2])
def test_engine_weights_make_up_for_another_sampler(updates_per_step):
    params, batch = _params(0), _batch()
    behavior = jnp.where(batch.completion_mask, batch.behavior_logprobs + 0.1, 0.0)
    off = batch._replace(
        behavior_logprobs=behavior, old_logprobs=batch.behavior_logprobs
    )
    weights = functools.partial(losses.engine_weights, level="token", cap=2.0)
    run = functools.partial(_run, updates_per_step=updates_per_step)
    got, metrics = run(params, off, engine_weights=weights)
    np.testing.assert_allclose(metrics["policy/engine_weight"], np.exp(-0.1), rtol=1e-4)
    # Every gradient counts e^-0.1 of what it does with the trainer's own samples.
    smaller = batch._replace(advantages=np.exp(-0.1) * batch.advantages)
    expected, _ = run(params, smaller)
    _assert_close(got, expected, atol=1e-6)
    if updates_per_step == 1:  # the old policy need not be scored beforehand
        got, _ = run(params, off._replace(old_logprobs=None), engine_weights=weights)
        _assert_close(got, expected, atol=1e-6)
