"""Tests for datachef_jax/finetune/sft.py."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datachef_jax.finetune import optimizer as optimizer_lib
from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from tests import tiny

# Every loss and gradient below is asked of the same compiled function.
_loss_and_gradient = jax.jit(
    jax.value_and_grad(sft.target_loss, argnums=1), static_argnums=0
)
# One object, for a step is compiled once for each.
_ADAMW = optimizer_lib.adamw(
    1e-2,
    warmup_steps=5,
    steps=150,
    b1=0.9,
    b2=0.98,
    weight_decay=0.0,
    max_grad_norm=1.0,
)


@pytest.fixture(scope="module")
def model():
    """Returns a two-layer model as graphdef and parameters."""
    return nnx.split(tiny.random_model(64), nnx.Param)


def _examples(count, *, seed=0):
    """Makes prompts of random tokens with random answers of three tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 9, size=count)
    return [
        packing.TokenExample(
            tuple(rng.integers(3, 64, size=n).tolist()),
            tuple([False] * (int(n) - 3) + [True] * 3),
        )
        for n in lengths
    ]


def _batches(examples, *, rows=4, row_tokens=24, row_targets=12):
    return packing.batches(
        examples, rows=rows, row_tokens=row_tokens, row_targets=row_targets, seed=0
    )


def _fit(model, state, batches, *, steps, optimizer=_ADAMW, sync_every=7, on_step=None):
    return sft.fit(
        model[0],
        state,
        batches,
        steps=steps,
        optimizer=optimizer,
        sync_every=sync_every,
        on_step=on_step or (lambda done, state, loss: None),
    )


def _loss(model, batch):
    return _loss_and_gradient(*model, batch)[0]


def _alone(example):
    """Returns a batch of one unpacked example."""
    length = len(example.tokens)
    return packing.Batch(
        tokens=np.array([example.tokens]),
        segments=np.ones((1, length), int),
        positions=np.arange(length)[None],
        targets=np.flatnonzero(example.loss_mask)[None],
    )


def _nll(model, examples):
    """Returns the summed loss of each example, one a row, from all its logits."""
    tokens = np.zeros((len(examples), 8), np.int32)
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = example.tokens
    positions = np.tile(np.arange(8), (len(examples), 1))

    @jax.jit
    def logprobs(params, tokens, positions):
        whole = nnx.merge(model[0], params)
        hidden = whole(tokens, positions, jnp.ones_like(tokens))
        return jax.nn.log_softmax(whole.logits(hidden))

    found = np.asarray(logprobs(model[1], tokens, positions))
    return [
        -sum(
            found[row, place - 1, example.tokens[place]]
            for place in np.flatnonzero(example.loss_mask)
        )
        for row, example in enumerate(examples)
    ]


def test_packed_rows_lose_what_their_examples_lose_alone(model):
    examples = _examples(12)
    batch = next(_batches(examples))
    by_tokens = {example.tokens: example for example in examples}
    packed = [
        by_tokens[tuple(tokens[segments == segment].tolist())]
        for tokens, segments in zip(batch.tokens, batch.segments)
        for segment in range(1, segments.max() + 1)
    ]
    assert len(packed) > len(batch.tokens)  # some rows hold several
    count = sum(sum(example.loss_mask) for example in packed)
    expected = sum(_nll(model, packed)) / count
    np.testing.assert_allclose(_loss(model, batch), expected, rtol=1e-5)


def test_a_token_that_is_no_target_has_no_loss_of_its_own(model):
    example = _examples(1)[0]
    with_nine = _alone(example._replace(tokens=example.tokens[:-1] + (9,)))
    with_eight = _alone(example._replace(tokens=example.tokens[:-1] + (8,)))
    assert _loss(model, with_nine) != _loss(model, with_eight)
    # The last target struck out, nothing depends on which token stands there.
    with_nine.targets[0, -1] = with_eight.targets[0, -1] = 0
    assert _loss(model, with_nine) == _loss(model, with_eight)


def test_padding_changes_neither_loss_nor_gradient(model):
    batch = _alone(_examples(1)[0])
    wide = packing.Batch(
        tokens=np.pad(batch.tokens, ((0, 2), (0, 5)), constant_values=7),
        segments=np.pad(batch.segments, ((0, 2), (0, 5))),
        positions=np.pad(batch.positions, ((0, 2), (0, 5))),
        targets=np.pad(batch.targets, ((0, 2), (0, 4))),
    )
    narrow_loss, narrow = _loss_and_gradient(*model, batch)
    wide_loss, wide = _loss_and_gradient(*model, wide)
    np.testing.assert_allclose(wide_loss, narrow_loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(wide), jax.tree.leaves(narrow), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_batch_without_targets_loses_nothing(model):
    batch = _alone(_examples(1)[0])
    assert _loss(model, batch._replace(targets=np.zeros((1, 3), int))) == 0.0


def test_a_small_model_learns_eight_rows_by_heart(model):
    before = jax.tree.map(np.array, model[1])
    state, losses = _fit(
        model, sft.start(model[1], _ADAMW), _batches(_examples(8)), steps=150
    )
    assert losses.shape == (150,)
    assert int(state.step) == 150
    assert losses[0] > 3.0  # ln 64 = 4.2
    assert losses[-5:].mean() < 0.05
    # The parameters it started from are still there.
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(model[1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_resumed_run_equals_an_uninterrupted_one(model):
    examples = _examples(30)
    whole_batches, batches = _batches(examples), _batches(examples)
    kept = {}

    def keep(done, state, loss):
        if done == 8:
            kept["state"] = jax.tree.map(jnp.copy, state)
            batches.set_state(whole_batches.get_state())

    start = sft.start(model[1], _ADAMW)
    whole, losses = _fit(model, start, whole_batches, steps=20, on_step=keep)
    resumed, rest = _fit(model, kept["state"], batches, steps=20, sync_every=5)
    np.testing.assert_array_equal(rest, losses[8:])
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_finished_run_does_nothing(model):
    state = sft.start(model[1], _ADAMW)._replace(step=jnp.array(6))
    _, losses = _fit(model, state, iter([]), steps=6)
    assert losses.shape == (0,)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(model):
    broken = jax.tree.map(lambda p: p * jnp.nan, model[1])
    state = sft.start(broken, _ADAMW)._replace(step=jnp.array(3))
    with pytest.raises(FloatingPointError, match="loss is nan at step 4"):
        _fit(model, state, _batches(_examples(8)), steps=9, sync_every=2)


def test_one_step_of_plain_descent_is_parameters_minus_rate_times_gradient(model):
    batch = next(_batches(_examples(12)))
    loss, gradient = _loss_and_gradient(*model, batch)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, model[1], gradient)
    sgd = optax.sgd(0.5)
    state, losses = _fit(
        model, sft.start(model[1], sgd), iter([batch]), steps=1, optimizer=sgd
    )
    np.testing.assert_allclose(losses, [loss], rtol=1e-5)
    for a, b in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)
