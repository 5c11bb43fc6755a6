"""Tests for experiments/run.py, started as users start it, from another directory."""

from concurrent import futures
import pathlib
import time

import pytest

from experiments import run

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SAMPLE = _ROOT / "tests" / "experiments" / "sample_config.py"

# Name -> (arguments after the config, what the message must say).
_FAULTS = {
    "unknown field": (
        ["--config.rl.grup_size=4"],
        ["config.rl.grup_size=4", "did you mean config.rl.group_size?"],
    ),
    "wrong type": (["--config.rl.group_size=many"], ["config.rl.group_size=many"]),
    "group of one": (
        ["--config.rl.group_size=1"],
        ["config.rl.group_size=1", "at least 2"],
    ),
    "mesh": (
        ["--config.mesh.data=3"],
        ["config.mesh=", "'data': 3", "3 x 1 does not cover 1 devices"],
    ),
    "long prompt": (
        ["--config.sampling.max_prompt_tokens=50"],
        ["config.sampling.max_prompt_tokens=50", "the prompt of task", "tokens"],
    ),
    "no checkpoint": (
        ["--config.base.checkpoint=nowhere"],
        ["config.base.checkpoint='nowhere'", "no folder"],
    ),
    "no programme": (
        ["--config.experiment=table2"],
        ["config.experiment='table2'", "table1"],
    ),
    "stray argument": (["stray"], ["unknown arguments: stray"]),
    "unknown flag": (["--stepz=3"], ["stepz"]),
    "field without value": (["--config.seed"], ["config.seed needs its value"]),
}


@pytest.fixture(scope="module")
def refusals(tokenizer_folder, start_run, tmp_path_factory):
    """Returns (exit code, stdout, stderr, what was written) of every fault."""

    def refuse(name: str):
        folder = tmp_path_factory.mktemp("refused")
        config, workdir = f"--config={_SAMPLE}:{tokenizer_folder}", folder / "workdir"
        process = start_run(
            config, f"--workdir={workdir}", *_FAULTS[name][0], cwd=folder
        )
        stdout, stderr = process.communicate()
        return process.returncode, stdout, stderr, list(folder.iterdir())

    with futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(_FAULTS, pool.map(refuse, _FAULTS), strict=True))


@pytest.mark.parametrize("name", _FAULTS)
def test_a_fault_of_the_user_is_one_message_and_exit_code_2(name, refusals):
    code, _, stderr, written = refusals[name]
    assert code == 2, stderr
    assert "Traceback" not in stderr
    (message,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    for part in _FAULTS[name][1]:
        assert part in message
    assert written == []


def test_a_missing_config_is_named(start_run, tmp_path):
    process = start_run("--config=configs/none.py", cwd=tmp_path)
    assert "error: --config=configs/none.py" in process.communicate()[1]
    assert process.returncode == 2


def test_a_workdir_of_another_config_is_left_alone(
    tokenizer_folder, start_run, tmp_path
):
    (tmp_path / "config.json").write_text('{"seed": 5}')
    (tmp_path / "summary.json").write_text("{}")
    arguments = f"--config={_SAMPLE}:{tokenizer_folder}", f"--workdir={tmp_path}"
    process = start_run(*arguments, cwd=tmp_path)
    stderr = process.communicate()[1]
    assert process.returncode == 2
    assert "holds the run of another config" in stderr and "config." in stderr
    assert (tmp_path / "summary.json").read_text() == "{}"
    assert len(list(tmp_path.iterdir())) == 2


def test_help_says_what_there_is(start_run, tmp_path):
    process = start_run("--help", cwd=tmp_path)
    stdout = process.communicate()[0]
    assert process.returncode == 0
    for path in sorted((_ROOT / "configs").rglob("*.py")):
        assert str(path.relative_to(_ROOT)) in stdout
    assert "--workdir" in stdout and "--config.rl.group_size=4" in stdout


@pytest.mark.parametrize(
    "config, expected",
    [
        ("configs/quickstart.py", "runs/quickstart"),
        ("configs/mini/table1.py", "runs/mini/table1"),
        ("configs/grpo_qwen3.py:4b", "runs/grpo_qwen3-4b"),
        ("elsewhere/mine.v2.py", "runs/mine.v2"),
    ],
)
def test_the_default_workdir_follows_the_config(config, expected, monkeypatch):
    monkeypatch.chdir(_ROOT)
    assert run._default_workdir(config) == _ROOT / expected


def test_whole_path_with_random_models_and_again_when_finished(
    tokenizer_folder, start_run, tmp_path
):
    arguments = (
        f"--config={_SAMPLE}:{tokenizer_folder}",
        f"--workdir={tmp_path / 'run'}",
    )
    process = start_run(*arguments, cwd=tmp_path)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "GRPO, oracle" in stdout
    run_folder = tmp_path / "run"
    for name in ("config", "environment", "summary"):
        assert (run_folder / f"{name}.json").exists()
    for name in ("table.md", "table.tex", "report.html", "grpo/seed0/metrics.jsonl"):
        assert (run_folder / name).exists()
    assert not list((run_folder / "sandbox").rglob("recipe-*"))

    (run_folder / "report.html").unlink()
    before = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*") if p.is_file()}
    time.sleep(0.01)
    process = start_run(*arguments, cwd=tmp_path)
    assert "is finished" in process.communicate()[0]
    assert process.returncode == 0
    after = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*") if p.is_file()}
    assert after.keys() - before.keys() == {run_folder / "report.html"}
    assert all(after[path] == before[path] for path in before)
