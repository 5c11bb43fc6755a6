"""Tests for experiments/run.py, started as users start it, from another directory."""

import pathlib
import re
import socket
import subprocess
import sys

import pytest

from experiments import checks
from experiments import run
from tests.experiments import sample_config
from tests.sandbox import small

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SAMPLE = _ROOT / "tests" / "experiments" / "sample_config.py"


def _data(folder: pathlib.Path, train: str | None) -> str:
    """Makes a folder of real data that holds one source, or not even that."""
    (folder / "gsm8k").mkdir(parents=True)
    if train is not None:
        (folder / "gsm8k" / "train.jsonl").write_text(train)
    return str(folder)


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--config.rl.group_size=many"], ["config.rl.group_size=many"]),
        (["--processes=2"], ["--processes=2", "wants a --coordinator"]),
        (
            ["--config.sampling.max_prompt_tokens=50"],
            ["config.sampling.max_prompt_tokens=50", "the prompt of task", "tokens"],
        ),
    ],
    ids=["on the command line", "between two flags", "in the middle of building"],
)
def test_a_fault_of_the_user_is_one_message_and_exit_code_2(
    arguments, parts, tokenizer_folder, start_run, tmp_path
):
    config, workdir = f"--config={_SAMPLE}:{tokenizer_folder}", tmp_path / "run"
    process = start_run(config, f"--workdir={workdir}", *arguments, cwd=tmp_path)
    stderr = process.communicate()[1]
    assert process.returncode == 2, stderr
    assert "Traceback" not in stderr
    (message,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert all(part in message for part in parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"rl.group_size": 1}, r"config\.rl\.group_size=1: must be at least 2"),
        ({"mesh.data": -1, "mesh.model": 3}, "model 3 does not divide"),
        ({"mesh.data": 3}, r"config\.mesh=.*'data': 3.*: mesh 3 x 1 does not cover"),
        ({"mesh.model": 0}, r"config\.mesh\.model=0"),
        ({"base.checkpoint": "none"}, r"config\.base\.checkpoint='none': .*no folder"),
        ({"policy.dtype": "float31"}, r"config\.policy\.dtype='float31': must be"),
        ({"sandbox.workers": 0}, r"config\.sandbox\.workers=0: must be at least 1"),
        ({"sandbox.require": ("spaces",)}, r"config\.sandbox=.*'spaces' is none of"),
        ({"turns.retries": -1}, r"config\.turns\.retries=-1: must be at least 0"),
        (
            {"turns.apart": True, "prompt.toolkit": True},
            r"config\.turns=.*asking for scripts takes \d+ tokens of the \d+ that",
        ),
        ({"sandbox.scratch": "/dev/null"}, r"config\.sandbox=.*null is no directory"),
        ({"sandbox.outer": "docker"}, r"config\.sandbox=.*outer: 'docker' is none of"),
        ({"sandbox.importable": ("nix",)}, r"config\.sandbox=.*to import.*nix"),
        ({"sandbox.workers_per_supervisor": 17}, r"config\.sandbox=.*at most 16 scr"),
        ({"rl.unknown": ()}, r"config\.rl\.unknown=\[\]: must not"),
        ({"engine.page_size": 48}, r"config\.engine=.*page_size 48 is not a power"),
        ({"serving.priorities.judge": 99}, r"priorities\.judge=99: .*0\.\.31"),
        ({"engine.reserve_bytes": 2**60}, r"config\.engine=.*bytes of free memory"),
        ({"tokenizer": "none"}, r"config\.tokenizer='none': there is no folder"),
        ({"experiment": "table2"}, r"config\.experiment='table2': .*'table1'"),
        ({"proxy.weight": 0.5}, r"proxy\.weight=0\.5: wants config\.proxy\.results"),
        ({"proxy.weight": 1.5}, r"config\.proxy\.weight=1\.5: must be between 0 and 1"),
        ({"proxy.results": "none"}, r"config\.proxy=.*No such file.*none"),
        (
            {"verifier.references": "none.jsonl"},
            r"config\.verifier\.references='none.jsonl': .*No such file",
        ),
        ({"verifier.held_out_every": 0}, r"held_out_every=0: must be at least 1"),
        ({"verifier.mean_power": 0.0}, r"mean_power=0\.0: must be above 0"),
        ({"pool.kind": "real_math"}, r"config\.pool=.*other settings than .*'seed'"),
        ({"pool.kind": "maxi"}, r"config\.pool=.*kind must be one of"),
    ],
)
def test_a_fault_in_the_config_is_named_and_nothing_is_written(
    fields, message, tokenizer_folder, tmp_path
):
    config = sample_config.get_config(str(tokenizer_folder))
    config.update_from_flattened_dict(fields)
    with pytest.raises(checks.UserError, match=message):
        run._run(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "train, message",
    [
        ("", r"gsm8k/train\.jsonl has no rows"),
        ("no json", r"gsm8k/train\.jsonl cannot be read as jsonl"),
        (None, r"gsm8k/train\.jsonl cannot be read .*No such file"),
    ],
)
def test_a_source_that_cannot_serve_is_named(
    train, message, tokenizer_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("DATACHEF_DATA", _data(tmp_path / "data", train))
    config = sample_config.get_config(str(tokenizer_folder))
    config.pool = dict(
        kind="real_math",
        benchmark_size=4,
        smallest=1,
        largest=3,
        exchange_ids=False,
    )
    with pytest.raises(checks.UserError, match=rf"config\.pool=.*real_math.*{message}"):
        run._run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_sandbox_that_lacks_what_is_required_is_refused(tmp_path, tokenizer_folder):
    config = sample_config.get_config(str(tokenizer_folder))
    config.sandbox.require = ("namespaces",)
    refused = pytest.raises(checks.UserError, match="config.sandbox: .* 'namespaces'")
    with small.only(small.PLAIN), refused:
        run._run(config, tmp_path / "run")


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
        (
            [f"--config={_SAMPLE}:x", "--config.rl.grup_size=4"],
            r"config\.rl\.grup_size=4: .*did you mean config\.rl\.group_size\?",
        ),
        ([f"--config={_SAMPLE}:x", "--config.seed"], "config.seed needs its value"),
        ([f"--config={_SAMPLE}:x", "--config.rl=1", "--config.r=1"], "config.r=1"),
        (["--config", "none.py"], "--config=none.py: there is no such file"),
        ([f"--config={_SAMPLE}"], "TypeError: get_config.* 'tokenizer'"),
    ],
)
def test_the_command_line_is_checked_before_it_is_used(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        run._parse(["run.py", *arguments])
    assert ended.value.code == 2
    assert re.search(rf"^error: .*{message}", capsys.readouterr().err)


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


def test_nothing_is_computed_before_processes_know_of_each_other():
    # Once JAX has computed anything it refuses to be one of several processes.
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    program = (
        "import jax; from experiments import build; "
        f"jax.distributed.initialize('{address}', num_processes=1, process_id=0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=_ROOT)
