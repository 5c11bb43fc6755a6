"""Tests for datachef_jax/finetune/many.py."""

import functools
import itertools
import threading

from flax import nnx
import jax
import numpy as np
import optax
import pytest

from datachef_jax.finetune import many
from datachef_jax.finetune import optimizer as optimizer_lib
from datachef_jax.finetune import packing
from datachef_jax.finetune import sft
from datachef_jax.models.qwen3 import lora
from datachef_jax.models.qwen3.config import Lora
from datachef_jax.parallel import sharding
from tests import tiny

_STEPS = 6
_SETTINGS = dict(
    warmup_steps=2, steps=_STEPS, b1=0.9, b2=0.98, weight_decay=0.1, max_grad_norm=0.5
)
_OPTIMIZERS = {
    "adamw": optimizer_lib.adamw(1e-2, **_SETTINGS),
    "muon": optimizer_lib.muon(1e-2, **_SETTINGS),
}
_PLAIN = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1))
# One that makes any gradient but 0 end in a loss that is not finite.
_WILD = optax.sgd(1e30)
_EACH = pytest.mark.parametrize(
    "fit",
    [many.one_by_one, many.in_threads, many.in_one_program],
    ids=lambda fit: fit.__name__,
)


@functools.cache
def _model(adapters: bool):
    """Returns a two-layer model: graphdef, what learns, what is frozen."""
    model = tiny.random_model(64)
    if not adapters:
        return *nnx.split(model, nnx.Param), nnx.State({})
    added = lora.add(
        model, Lora(rank=2, alpha=4.0, targets=("q_proj", "up_proj")), seed=1
    )
    graphdef, params = nnx.split(added, nnx.Param)
    return graphdef, *nnx.split_state(params, nnx.LoRAParam, ...)


@functools.cache
def _few(seed):
    """Returns batches of random tokens."""
    rng = np.random.default_rng(seed)
    examples = [
        packing.TokenExample(
            tuple(rng.integers(3, 64, size=n).tolist()),
            tuple([False] * (int(n) - 3) + [True] * 3),
        )
        for n in rng.integers(5, 9, size=10 + seed)
    ]
    packed = packing.batches(examples, rows=4, row_tokens=24, row_targets=12, seed=seed)
    return tuple(itertools.islice(packed, _STEPS))


def _batches(seed):
    """Returns the same batches without end."""
    return itertools.cycle(_few(seed))


def _silent(seed):
    """Returns them without any target: loss and gradient are 0."""
    for batch in _batches(seed):
        yield batch._replace(targets=np.zeros_like(batch.targets))


def _fit(
    fit, model, batches, *, optimizer, width=2, progress=lambda count: None, **how
):
    graphdef, params, frozen = model
    training = many.Training(
        graphdef=graphdef,
        params=params,
        frozen=frozen,
        optimizer=optimizer,
        **dict(steps=_STEPS, sync_every=4) | how,
    )
    return fit(training, batches, width=width, progress=progress)


def _alone(model, batches, optimizer):
    graphdef, params, frozen = model
    return sft.fit(
        graphdef,
        sft.start(params, optimizer),
        batches,
        steps=_STEPS,
        optimizer=optimizer,
        sync_every=4,
        on_step=lambda done, state, loss: None,
        frozen=frozen,
    )


def _check(fitted, model, optimizer, *, exact):
    """Compares with `sft.fit` of each dataset; names are "0", "1", …"""
    tolerance = {} if exact else dict(rtol=2e-4, atol=2e-5)
    compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
    for i, (name, found) in enumerate(fitted.items()):
        assert name == str(i)
        state, losses = _alone(model, _batches(i), optimizer)
        assert found.losses.shape == (_STEPS,)
        compare(found.losses, losses, **tolerance)
        expected = jax.tree.leaves_with_path(state.params)
        for (path, a), b in zip(expected, jax.tree.leaves(found.params), strict=True):
            compare(b, a, err_msg=jax.tree_util.keystr(path), **tolerance)


@_EACH
@pytest.mark.parametrize("optimizer, adapters", [("muon", False), ("adamw", True)])
def test_each_dataset_has_the_result_of_a_fine_tune_of_its_own(
    fit, optimizer, adapters
):
    model, chosen = _model(adapters), _OPTIMIZERS[optimizer]
    before = jax.tree.map(np.array, model[1])
    datasets = {str(i): _batches(i) for i in range(3)}  # the last group is half empty
    fitted = _fit(fit, model, datasets, optimizer=chosen)
    _check(fitted, model, chosen, exact=fit is not many.in_one_program)
    assert fitted["0"].losses[-1] != fitted["1"].losses[-1]
    # The parameters they started from are still there.
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(model[1]), strict=True):
        np.testing.assert_array_equal(a, b)


@_EACH
def test_no_dataset_has_no_result(fit):
    assert _fit(fit, _model(False), {}, optimizer=_OPTIMIZERS["adamw"]) == {}


@_EACH
def test_of_endless_batches_each_fine_tune_takes_what_it_needs(fit):
    taken = {name: itertools.count() for name in "abc"}

    def counted(name):
        for batch in _batches(0):
            next(taken[name])
            yield batch

    told = []
    datasets = {name: counted(name) for name in taken}
    adamw = _OPTIMIZERS["adamw"]
    _fit(fit, _model(False), datasets, optimizer=adamw, progress=told.append)
    assert [next(count) for count in taken.values()] == [_STEPS] * 3
    assert sum(told) == 3 * _STEPS


@_EACH
def test_batches_that_end_are_an_error_that_names_their_dataset(fit):
    datasets = {"long": _batches(0), "short": itertools.islice(_batches(1), 4)}
    with pytest.raises(ValueError, match="^short: its batches ended after 4$"):
        _fit(fit, _model(False), datasets, optimizer=_OPTIMIZERS["adamw"])


@_EACH
@pytest.mark.parametrize("names", [("calm", "wild", "late"), ("a", "b", "wild")])
def test_a_diverging_fine_tune_is_named_and_no_other(fit, names):
    datasets = {
        name: _batches(i) if name == "wild" else _silent(i)
        for i, name in enumerate(names)
    }
    with pytest.raises(
        FloatingPointError, match=r"^wild: loss is (nan|inf) at step 3$"
    ):
        _fit(fit, _model(False), datasets, optimizer=_WILD)


def test_after_a_failure_no_thread_goes_on():
    taken = itertools.count()

    def counted():
        for batch in _silent(0):
            next(taken)
            yield batch

    datasets = {"calm": counted(), "wild": _batches(1), "never": counted()}
    with pytest.raises(FloatingPointError, match="wild"):
        _fit(
            many.in_threads,
            _model(False),
            datasets,
            optimizer=_WILD,
            steps=2000,
            sync_every=1,
        )
    assert next(taken) < 1000
    left = [thread.name for thread in threading.enumerate()]
    assert not [name for name in left if name.startswith("fine-tune")]


@pytest.mark.parametrize("width", [8, 3])
def test_a_mesh_changes_no_result(width, mesh):
    """4 ways over the data axis: 8 fine-tunes are split over it, 3 are not."""
    with jax.set_mesh(mesh):
        model = _model.__wrapped__(False)
        before = many.update._cache_size()
        datasets = {str(i): _batches(i) for i in range(2)}
        fitted = _fit(
            many.in_one_program, model, datasets, optimizer=_PLAIN, width=width
        )
        programs = many.update._cache_size() - before
    assert programs == 1 or width == 3
    places = [
        jax.tree.map(lambda x: x.sharding, params)
        for params in (model[1], fitted["1"].params)
    ]
    assert places[0] == places[1]
    _check(fitted, _model(False), _PLAIN, exact=False)


def test_devices_that_share_out_the_fine_tunes_exchange_nothing_but_losses():
    everyone = sharding.make_mesh(data=8, model=1)
    batch = next(_batches(0))
    with jax.set_mesh(everyone):
        graphdef, params, frozen = _model.__wrapped__(False)
        state = many.start(params, optimizer=_PLAIN, width=16)
        rows = jax.tree.map(lambda x: np.stack([x] * 16), batch)
        compiled = many.update.lower(
            state, frozen, rows, graphdef=graphdef, optimizer=_PLAIN
        ).compile()
    text = compiled.as_text()
    assert text.count(" all-gather(") == 1
    for collective in ("all-reduce", "all-to-all", "collective-permute"):
        assert f" {collective}(" not in text
    (leaf, *_) = jax.tree.leaves(state.params)
    assert leaf.addressable_shards[0].data.shape[0] == 2
