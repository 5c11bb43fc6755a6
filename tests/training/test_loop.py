"""Tests for datachef_jax/training/loop.py."""

import dataclasses
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datachef_jax.training import checkpoint
from datachef_jax.training import metrics
from datachef_jax.training import preemption
from tests.training import scripted


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the folder and the last state of four uninterrupted steps."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, scripted.run(workdir, steps=4)


def _assert_same_files(workdir, expected):
    names = ["metrics.jsonl", *(f"rollouts/step_{i:04d}.jsonl" for i in range(4))]
    for name in names:
        assert (workdir / name).read_bytes() == (expected / name).read_bytes(), name
    assert len(list((workdir / "rollouts").iterdir())) == 4


def _assert_same_state(got, expected):
    assert got.step == expected.step
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_leaves_what_it_says(whole):
    workdir, state = whole
    assert state.step == 4
    lines = metrics.read(workdir / "metrics.jsonl")
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert checkpoint.steps(workdir / "checkpoints") == [2, 4]
    rollouts = (workdir / "rollouts" / "step_0003.jsonl").read_text().splitlines()
    assert len(rollouts) == 16 and json.loads(rollouts[0])["task"].startswith("task ")
    tasks = {
        json.loads(line)["task"]
        for path in (workdir / "rollouts").iterdir()
        for line in path.read_text().splitlines()
    }
    assert len(tasks) == 5  # four steps of two tasks: the stream moved on
    assert not (workdir / "events.jsonl").exists()


def test_two_steps_then_resume_equals_four_steps(whole, tmp_path):
    scripted.run(tmp_path, steps=2)
    _assert_same_state(scripted.run(tmp_path, steps=4), whole[1])
    _assert_same_files(tmp_path, whole[0])


class _Crash(Exception):
    pass


def _crash():
    raise _Crash


def _watched(stages, stage, step, happens):
    """Returns stages of which one lets something happen in a step, and the steps begun.

    It happens once, however often the stage works in that step: on as many completions
    at a time as are there.
    """
    begun, happened = [], []

    def watch(name, work, *args):
        if name == "sample":
            begun.append(1)
        if name == stage and len(begun) == step and not happened:
            happened.append(1)
            happens()
        return work(*args)

    watches = {
        name: functools.partial(watch, name, getattr(stages, name))
        for name in ("sample", stage)
    }
    return dataclasses.replace(stages, **watches), begun


@pytest.mark.parametrize("crash", ["before the first checkpoint", "after one"])
def test_a_crash_between_checkpoints_changes_nothing(whole, tmp_path, crash):
    step = 1 if crash == "before the first checkpoint" else 3
    stages, _ = _watched(scripted.parts()[1], "verify", step + 1, _crash)
    with pytest.raises(_Crash):
        scripted.run(tmp_path, steps=4, stages=stages)
    assert len(metrics.read(tmp_path / "metrics.jsonl")) == step
    # As if killed while it wrote.
    (tmp_path / "rollouts" / "step_0003.jsonl.tmp").write_text("{")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"grade/A": 0.')
    _assert_same_state(scripted.run(tmp_path, steps=4), whole[1])
    _assert_same_files(tmp_path, whole[0])


def test_a_damaged_checkpoint_is_printed_and_recorded(whole, tmp_path, capfd):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    os.truncate(tmp_path / "checkpoints" / "step_000004" / "manifest.json", 7)
    _assert_same_state(scripted.run(tmp_path, steps=4), whole[1])
    _assert_same_files(tmp_path, whole[0])
    (event,) = metrics.read(tmp_path / "events.jsonl")
    assert event["event"] == "damaged checkpoint" and event["name"] == "step_000004"
    assert "checkpoint step_000004 is damaged: manifest.json" in capfd.readouterr().out


def test_a_finished_run_does_nothing_more(whole):
    workdir, state = whole
    before = (workdir / "metrics.jsonl").stat().st_size
    _assert_same_state(scripted.run(workdir, steps=4), state)
    assert (workdir / "metrics.jsonl").stat().st_size == before


def test_what_is_not_finite_stops_the_run_and_keeps_its_checkpoints(tmp_path):
    stages = scripted.parts()[1]

    def advantage(rewards, valid):
        good = len(list((tmp_path / "rollouts").iterdir())) < 2
        return stages.advantage(rewards, valid) * (1.0 if good else jnp.nan)

    broken = dataclasses.replace(stages, advantage=advantage)
    with pytest.raises(FloatingPointError, match="step 2: .*policy/loss is nan"):
        scripted.run(tmp_path, steps=4, stages=broken)
    assert checkpoint.steps(tmp_path / "checkpoints") == [2]
    assert len(metrics.read(tmp_path / "metrics.jsonl")) == 2


@pytest.mark.parametrize("stage", ["sample", "verify", "update"])
def test_a_sigterm_saves_what_is_done_and_stops(whole, tmp_path, stage):
    # In the fourth step, which would be saved; not the third.
    terminate = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    watched, _ = _watched(scripted.parts()[1], stage, 4, terminate)
    with pytest.raises(preemption.Preempted):
        scripted.run(tmp_path, steps=6, stages=watched)
    # The update of a step that has come so far is not thrown away.
    done = 4 if stage == "update" else 3
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == done
    _assert_same_state(scripted.run(tmp_path, steps=4), whole[1])
    _assert_same_files(tmp_path, whole[0])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_a_killed_step_had_sampled_is_not_sampled_again(whole, tmp_path):
    watched, sampled = _watched(scripted.parts()[1], "verify", 3, _crash)
    with pytest.raises(_Crash):
        scripted.run(tmp_path, steps=4, stages=watched)
    assert len(sampled) == 3  # the third step's before it was killed
    _assert_same_state(scripted.run(tmp_path, steps=4, stages=watched), whole[1])
    assert len(sampled) == 4  # of steps 3 and 4, the latter's alone
    _assert_same_files(tmp_path, whole[0])


@pytest.mark.slow
def test_kill_minus_nine_at_random_moments_changes_nothing(whole, tmp_path):
    command = [sys.executable, scripted.__file__, str(tmp_path), "4"]
    timing = tmp_path / "timing.jsonl"  # the one file that only ever grows

    def lines():
        return timing.read_bytes().count(b"\n") if timing.exists() else 0

    moments = random.Random(0)
    for steps in (1, 2, 1, 2):  # around the first checkpoint and around the last
        wanted = lines() + steps
        child = subprocess.Popen(command, cwd=pathlib.Path("/"))
        while child.poll() is None and lines() < wanted:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.5))
        child.send_signal(signal.SIGKILL)
        child.wait()
    subprocess.run(command, check=True, cwd=pathlib.Path("/"))
    _assert_same_files(tmp_path, whole[0])
    _assert_same_state(scripted.run(tmp_path, steps=4), whole[1])
