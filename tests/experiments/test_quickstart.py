"""The quickstart's whole path, `configs/tiny.py`: killed and resumed, it ends alike."""

import json
import pathlib
import random
import subprocess
import time

import pytest

_CONFIG = "--config=configs/tiny.py"
_KILLS = 10
_PATIENCE = 900.0  # seconds that a run may take before the test gives up on it


def _finish(process: subprocess.Popen) -> str:
    """Waits for a run, which must end well, and returns what it printed."""
    stdout, stderr = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 0, stderr
    return stdout


def _killed(process: subprocess.Popen, seconds: float) -> bool:
    """Kills a run after some time; False if it ended well before."""
    try:
        _, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == 0, stderr
    return False


def _results(workdir: pathlib.Path) -> dict[str, bytes]:
    """Returns what must not depend on interruptions."""
    names = ("summary.json", "table.md", "grpo/seed0/metrics.jsonl")
    return {name: (workdir / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def uninterrupted(start_run, tmp_path_factory):
    """Returns the seconds that an uninterrupted run took, and its results."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    start = time.monotonic()
    stdout = _finish(start_run(_CONFIG, f"--workdir={folder / 'run'}", cwd=folder))
    seconds = time.monotonic() - start
    assert "GRPO, oracle" in stdout
    return seconds, _results(folder / "run"), folder / "run"


def test_a_run_leaves_what_the_readme_promises(uninterrupted):
    workdir = uninterrupted[2]
    for name in (
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "report.html",
        "summary.json",
        "table.md",
        "table.tex",
        "grpo/seed0/rollouts/step_0000.jsonl",
    ):
        assert (workdir / name).stat().st_size > 0, name
    facts = json.loads((workdir / "environment.json").read_text())
    assert facts["attention"]["packed rows"] == "blocked"  # on the CPU of a test
    assert list(workdir.glob("grpo/seed0/tensorboard/events.*"))
    assert list(workdir.glob("grpo/seed0/checkpoints/step_*"))
    assert not list(workdir.rglob("recipe-*"))  # directories of scripts


def test_a_finished_run_is_only_reported_anew(uninterrupted, start_run, tmp_path):
    workdir = uninterrupted[2]
    (workdir / "report.html").unlink()
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    process = start_run(_CONFIG, f"--workdir={workdir}", cwd=tmp_path)
    assert "is finished" in _finish(process)
    after = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    assert after.keys() - before.keys() == {workdir / "report.html"}
    assert all(after[path] == before[path] for path in before)


@pytest.mark.slow(minutes=4)
def test_ten_kills_at_random_moments_change_nothing(uninterrupted, start_run, tmp_path):
    """Kills run after run, wherever it stands; each one that ends, ends alike."""
    seconds, expected, _ = uninterrupted
    seed = random.SystemRandom().randrange(2**32)
    print(f"moments drawn with seed {seed}")  # shown if the test fails
    moments = random.Random(seed)
    kills, runs = 0, 0
    while kills < _KILLS:
        workdir = tmp_path / f"run{runs}"
        process = start_run(_CONFIG, f"--workdir={workdir}", cwd=tmp_path)
        # Of half the time: what goes on has less to do, and should not end first.
        if _killed(process, moments.uniform(0.0, seconds / 2)):
            kills += 1
        else:
            assert _results(workdir) == expected
            runs += 1
    _finish(start_run(_CONFIG, f"--workdir={workdir}", cwd=tmp_path))
    assert _results(workdir) == expected
