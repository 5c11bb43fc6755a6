"""Tests for experiments/run.py, started as users start it, from another directory."""

from concurrent import futures
import pathlib

import pytest

from experiments import checks
from experiments import run

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SAMPLE = _ROOT / "tests" / "experiments" / "sample_config.py"
_REAL = _ROOT / "tests" / "experiments" / "sample_real_config.py"

# Name -> (arguments after the usual ones, what the message must say).
_FAULTS = {
    "missing config file": (
        ["--config=configs/none.py"],
        ["--config=configs/none.py", "no such file"],
    ),
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
    "source without rows": (
        [f"--config={_REAL}:{{}}"],
        ["config.pool=", "'real_math'", "gsm8k/train.jsonl has no rows"],
    ),
    "missing source": (
        [f"--config={_REAL}:{{}}"],
        ["config.pool=", "gsm8k/train.jsonl", "cannot be read", "No such file"],
    ),
    "no sources at all": ([f"--config={_REAL}:{{}}"], ["config.pool=", "DATACHEF_DATA"]),
}


@pytest.fixture(scope="module")
def refusals(tokenizer_folder, start_run, tmp_path_factory):
    """Returns (exit code, stderr, what was written) of every fault."""

    data = tmp_path_factory.mktemp("data")
    for name in ("missing source", "source without rows"):
        (data / name / "gsm8k").mkdir(parents=True)
    (data / "source without rows" / "gsm8k" / "train.jsonl").touch()

    def refuse(name: str):
        folder = tmp_path_factory.mktemp("refused")
        process = start_run(
            f"--config={_SAMPLE}:{tokenizer_folder}",
            f"--workdir={folder / 'workdir'}",
            *(argument.format(tokenizer_folder) for argument in _FAULTS[name][0]),
            cwd=folder,
            DATACHEF_DATA=str(data / name),
        )
        _, stderr = process.communicate()
        return process.returncode, stderr, list(folder.iterdir())

    with futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(_FAULTS, pool.map(refuse, _FAULTS), strict=True))


@pytest.mark.parametrize("name", _FAULTS)
def test_a_fault_of_the_user_is_one_message_and_exit_code_2(name, refusals):
    code, stderr, written = refusals[name]
    assert code == 2, stderr
    assert "Traceback" not in stderr
    (message,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    for part in _FAULTS[name][1]:
        assert part in message
    assert written == []


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
    "arguments, message",
    [
        ([], "--config is missing"),
        ([f"--config={_SAMPLE}:x", "--config.seed"], "config.seed needs its value"),
        ([f"--config={_SAMPLE}:x", "--config.rl=1", "--config.r=1"], "config.r=1"),
        (["--config", "none.py"], "--config=none.py: there is no such file"),
        ([f"--config={_SAMPLE}"], "TypeError: get_config.* 'tokenizer'"),
    ],
)
def test_the_command_line_is_checked_before_it_is_used(arguments, message):
    with pytest.raises(checks.UserError, match=message):
        run._parse_flags(["run.py", *arguments])


def test_a_config_is_found_here_first_and_then_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    theirs = "--config=configs/quickstart.py"
    assert run._find_config(theirs) == f"--config={_ROOT}/configs/quickstart.py"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.py").touch()
    assert run._find_config(theirs) == f"--config={tmp_path}/configs/quickstart.py"


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
