"""Tests for datachef_jax/training/checkpoint.py."""

import os
import shutil

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import optax
import pytest

from datachef_jax.parallel import sharding
from datachef_jax.training import checkpoint


def _state(value):
    matrix = nnx.Param(jnp.full((3, 2), value))
    vector = nnx.Param(jnp.arange(4, dtype=jnp.bfloat16))
    params = nnx.State({"w": matrix, "b": {"c": vector}})
    return {"params": params, "opt_state": optax.adam(0.1).init(params)}


def _save(folder, step, state, *, keep=5):
    saver = checkpoint.Saver(folder, keep=keep)
    saver.save(step, state, {"at": step})
    saver.wait()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    _save(folder, 1, _state(1 / 3))
    _save(folder, 2, _state(2 / 3))
    return folder


@pytest.fixture
def two(saved, tmp_path):
    """Returns a folder with checkpoints 1 and 2."""
    return shutil.copytree(saved, tmp_path / "checkpoints")


def test_everything_comes_back_bit_for_bit(two):
    restored = checkpoint.restore_latest(two, _state(0.0))
    assert restored.skipped == () and restored.step == 2
    assert restored.position == {"at": 2}
    expected = _state(2 / 3)
    assert jax.tree.structure(restored.arrays) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, restored.arrays, expected)
    assert restored.arrays["params"]["b"]["c"][...].dtype == jnp.bfloat16


def test_it_comes_back_onto_another_mesh(mesh, tmp_path):
    whole = np.arange(64.0, dtype=np.float32).reshape(8, 8)
    here = jax.NamedSharding(mesh, P("data", "model"))
    _save(tmp_path, 3, {"w": jax.device_put(whole, here)})
    other = sharding.make_mesh(data=2, model=4)
    one = sharding.make_mesh(data=1, model=1, devices=jax.devices()[:1])
    for there in (other, one):
        place = jax.NamedSharding(there, P("model", "data"))
        like = {"w": jax.ShapeDtypeStruct((8, 8), np.float32, sharding=place)}
        restored = checkpoint.restore_latest(tmp_path, like).arrays["w"]
        assert restored.sharding == place
        np.testing.assert_array_equal(restored, whole)


def test_arrays_may_be_given_up_while_they_are_being_saved(tmp_path):
    saver = checkpoint.Saver(tmp_path, keep=2)
    give_up = jax.jit(lambda x: x * 0.0, donate_argnums=0)
    for step in (1, 2):  # the second waits for the first
        x = jnp.full((2048, 512), float(step))
        saver.save(step, {"x": x}, {})
        give_up(x).block_until_ready()
    saver.wait()
    restored = checkpoint.restore_latest(tmp_path, {"x": jnp.zeros((2048, 512))})
    assert float(restored.arrays["x"].min()) == 2.0
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_a_save_that_fails_is_raised_and_leaves_the_earlier_ones(two):
    saver = checkpoint.Saver(two, keep=1)
    saver.save(3, _state(1.0), {})
    (two / "step_000003").mkdir()  # in the way of the new one
    (two / "step_000003" / "x").touch()
    with pytest.raises(OSError, match="not empty"):
        saver.wait()
    assert checkpoint.restore_latest(two, _state(0.0)).step == 2


def _files(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [str(path.relative_to(folder)) for path in files if path.stat().st_size]


def test_any_truncated_file_is_noticed_and_the_checkpoint_before_is_used(two):
    folder = two
    latest = folder / "step_000002"
    names = _files(latest)
    assert "manifest.json" in names and len(names) > 5
    for name in names:
        whole = (latest / name).read_bytes()
        os.truncate(latest / name, len(whole) // 2)
        assert checkpoint.damage(latest), name
        (latest / name).write_bytes(whole)
    assert not checkpoint.damage(latest)

    os.truncate(latest / names[-1], 1)
    restored = checkpoint.restore_latest(folder, _state(0.0))
    assert restored.step == 1 and restored.position == {"at": 1}
    np.testing.assert_array_equal(
        restored.arrays["params"]["w"][...], _state(1 / 3)["params"]["w"][...]
    )
    (skipped,) = restored.skipped
    assert skipped.name == "step_000002" and names[-1] in skipped.reason
    # It stands aside, so the second one can be saved again.
    assert checkpoint.steps(folder) == [1]
    _save(folder, 2, _state(0.5), keep=1)
    assert checkpoint.steps(folder) == [2]


@pytest.mark.parametrize("name", ["manifest.json", "position.json", "data"])
def test_a_missing_part_is_noticed(two, name):
    path = two / "step_000002" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    restored = checkpoint.restore_latest(two, _state(0.0))
    assert restored.step == 1 and len(restored.skipped) == 1


def test_without_any_intact_checkpoint_it_does_not_start_over(two):
    for name in ("step_000001", "step_000002"):
        os.truncate(two / name / "manifest.json", 10)
    for _ in range(2):  # and asking again does not help
        with pytest.raises(ValueError, match=f"no checkpoint in {two} is intact"):
            checkpoint.restore_latest(two, _state(0.0))


def test_a_save_that_was_killed_leaves_nothing_that_counts(two):
    folder = two
    shutil.copytree(folder / "step_000001", folder / "unfinished_step_000003")
    assert checkpoint.steps(folder) == [1, 2]
    _save(folder, 3, _state(1.0), keep=2)
    assert sorted(path.name for path in folder.iterdir()) == [
        "step_000002",
        "step_000003",
    ]


def test_nothing_saved_is_no_error(tmp_path):
    restored = checkpoint.restore_latest(tmp_path / "none", _state(0.0))
    assert restored.arrays is None and restored.step == 0 and restored.skipped == ()
