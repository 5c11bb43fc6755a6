"""Tests for experiments/environment.py."""

import pathlib
import subprocess

from experiments import environment
from experiments import results

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_sessions_and_times_add_up_over_restarts(tmp_path):
    path = tmp_path / "environment.json"
    first = environment.Environment(path, root=tmp_path)
    first.add_seconds("GRPO", 1.5)
    second = environment.Environment(path, root=tmp_path)
    second.add_seconds("GRPO", 2.0)
    with second.stage("table"):
        pass
    second.note("sandbox", {"layers": "x"})
    facts = results.read_json(path)
    assert facts["stages"]["GRPO"] == 3.5 and facts["stages"]["table"] < 1.0
    assert len(facts["sessions"]) == 2
    assert facts["sandbox"] == {"layers": "x"}
    assert 0.05 < facts["peak_rss_gib"] < 64


def test_the_commit_is_that_of_the_checkout(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("1")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    (tmp_path / "file").write_text("2")
    environment.Environment(tmp_path / "x" / "environment.json", root=tmp_path)
    (session,) = results.read_json(tmp_path / "x" / "environment.json")["sessions"]
    assert len(session["commit"]) == 40
    assert session["changed"]


def test_without_git_there_is_no_commit(tmp_path):
    environment.Environment(tmp_path / "environment.json", root=tmp_path)
    (session,) = results.read_json(tmp_path / "environment.json")["sessions"]
    assert session["commit"] == "" and not session["changed"]
    assert session["packages"]["jax"] and session["cpus"] >= 1
