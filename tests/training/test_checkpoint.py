"""Tests for datachef_jax/training/checkpoint.py."""

import os
import shutil

from flax import nnx
import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datachef_jax.training import checkpoint
from datachef_jax.training import state as train_state


def _tasks():
    data = grain.MapDataset.source(list(range(10))).shuffle(seed=3).repeat()
    return iter(data.batch(2, batch_fn=list).to_iter_dataset())


def _state(value):
    matrix = nnx.Param(jnp.full((3, 2), value))
    vector = nnx.Param(jnp.arange(4, dtype=jnp.bfloat16))
    params = nnx.State({"w": matrix, "b": {"c": vector}})
    return train_state.create(params, optax.adam(0.1))


def _save_two(folder):
    """Saves after 1 and 2 steps; returns the batches of steps 1 and 2."""
    tasks, batches = _tasks(), []
    next(tasks)
    for step in (1, 2):
        checkpoint.save(folder, _state(step / 3)._replace(step=step), tasks, keep=5)
        batches.append(next(tasks))
    return batches


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    return folder, _save_two(folder)


@pytest.fixture
def two(saved, tmp_path):
    """Returns a folder with checkpoints 1 and 2, and the batches after them."""
    shutil.copytree(saved[0], tmp_path / "checkpoints")
    return tmp_path / "checkpoints", saved[1]


def test_everything_comes_back_bit_for_bit(two):
    folder, batches = two
    tasks = _tasks()
    restored = checkpoint.restore_latest(folder, _state(0.0), tasks)
    assert restored.skipped == () and restored.state.step == 2
    expected = _state(2 / 3)._replace(step=2)
    assert jax.tree.structure(restored.state) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, restored.state, expected)
    assert restored.state.params["b"]["c"][...].dtype == jnp.bfloat16
    assert next(tasks) == batches[1]


def _files(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [str(path.relative_to(folder)) for path in files if path.stat().st_size]


def test_any_truncated_file_is_noticed_and_the_checkpoint_before_is_used(two):
    folder, batches = two
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
    tasks = _tasks()
    restored = checkpoint.restore_latest(folder, _state(0.0), tasks)
    assert restored.state.step == 1
    np.testing.assert_array_equal(
        restored.state.params["w"][...], _state(1 / 3).params["w"][...]
    )
    assert next(tasks) == batches[0]
    (skipped,) = restored.skipped
    assert skipped.name == "step_000002" and names[-1] in skipped.reason
    # It stands aside, so the second one can be saved again.
    assert checkpoint.steps(folder) == [1]
    checkpoint.save(folder, _state(0.5)._replace(step=2), tasks, keep=1)
    assert checkpoint.steps(folder) == [2]


@pytest.mark.parametrize("name", ["manifest.json", "data/tasks"])
def test_a_missing_part_is_noticed(two, name):
    folder, _ = two
    path = folder / "step_000002" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    restored = checkpoint.restore_latest(folder, _state(0.0), _tasks())
    assert restored.state.step == 1 and len(restored.skipped) == 1


def test_without_any_intact_checkpoint_it_does_not_start_over(two):
    folder, _ = two
    for name in ("step_000001", "step_000002"):
        os.truncate(folder / name / "manifest.json", 10)
    for _ in range(2):  # and asking again does not help
        with pytest.raises(ValueError, match=f"no checkpoint in {folder} is intact"):
            checkpoint.restore_latest(folder, _state(0.0), _tasks())


def test_a_save_that_was_killed_leaves_nothing_that_counts(two):
    folder, _ = two
    shutil.copytree(folder / "step_000001", folder / "unfinished_step_000003")
    assert checkpoint.steps(folder) == [1, 2]
    checkpoint.save(folder, _state(1.0)._replace(step=3), _tasks(), keep=2)
    assert sorted(path.name for path in folder.iterdir()) == [
        "step_000002",
        "step_000003",
    ]


def test_nothing_saved_is_no_error(tmp_path):
    restored = checkpoint.restore_latest(tmp_path / "none", _state(0.0), _tasks())
    assert restored.state is None and restored.skipped == ()
