"""Tests for experiments/bench_engine.py and the programs it starts, never the times.

The peers run where their packages are: in the environment of the tests, or in the one
whose Python DATACHEF_TUNIX_PYTHON or DATACHEF_TRANSFORMERS_PYTHON names.
"""

import importlib.util
import json
import os
import sys

import pytest

from configs.bench import engine as config_file
from experiments import bench_engine
from experiments import bench_engine_table
from experiments import build_bench
from experiments import checks
from experiments import environment
from experiments.peers import measure_engine
from tests.experiments import conftest

_NEEDS = {"tunix": "tunix", "transformers": "torch"}
Variant = bench_engine.Variant


def _config():
    """Returns the benchmark without peers and without real rows, in tiny."""
    config = config_file.get_config()
    config.architecture.update(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_layers=1,
        num_heads=4, num_kv_heads=2, head_dim=8,
    )  # fmt: skip
    config.equal.update(prompts=2, group=2, prompt_tokens=8, new_tokens=6)
    config.rl.update(prompts=3, group=2, prompt_tokens=8, cap=12, mean_tokens=6)
    config.judge.update(rows=5, rubric_tokens=20)
    config.greedy.update(prompts=2, tokens=4)
    config.rows.update(ours=(4,), tunix=(4,), transformers=(4,), continuous=(4,))
    config.workloads = ("rl",)
    config.rounds = 1
    return config


def _build(config, folder):
    return build_bench.PROGRAMMES["bench_engine"](config, folder, conftest.ROOT)


def _run(config, folder):
    record = environment.Environment(folder / "e.json", root=conftest.ROOT)
    _build(config, folder).run(record)
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Returns a folder with a GSM8K of a few rows."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "gsm8k").mkdir()
    lines = [
        {"question": f"How much is {i} + {i}?", "answer": f"#### {2 * i}"}
        for i in range(30)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "gsm8k" / "train.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns the folder of a run without peers."""
    folder = tmp_path_factory.mktemp("bench")
    _run(_config(), folder)
    return folder


def test_every_program_has_its_figures_or_a_reason(finished):
    summary = json.loads((finished / "summary.json").read_text())
    programs = summary["workloads"]["rl"]
    asked = json.loads((finished / "inputs" / "rl.json").read_text())
    assert list(programs) == ["ours", "tunix", "transformers", "continuous"]
    reason = {"rows": 4, "not_measured": "no interpreter is given"}
    assert programs["tunix"] == programs["transformers"] == reason
    ours = programs["ours"]
    assert ours["answered"] == sum(asked["new_tokens"])
    assert ours["seconds"] > 0 and ours["peak_gib"] > ours["above_weights_gib"]
    assert 0 < ours["host_share"] < 1
    assert ours["floor_gib_per_second"] == pytest.approx(
        summary["floor_gib"]["rl"] / ours["seconds"]
    )
    assert "agreement" not in ours  # with nobody
    assert "| ours | 4 |" in (finished / "table.md").read_text()


def test_a_killed_run_goes_on_with_what_it_has(finished, capsys):
    files = {path: path.read_bytes() for path in (finished / "runs").iterdir()}
    (finished / "summary.json").unlink()
    _run(_config(), finished)
    assert {p: p.read_bytes() for p in (finished / "runs").iterdir()} == files
    printed = capsys.readouterr().out
    assert "tunix is not measured: config.peers.tunix is empty" in printed


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param("tunix", marks=pytest.mark.slow),
        pytest.param("transformers", marks=pytest.mark.parity),
    ],
)
def test_a_peer_finds_the_same_tokens(peer, data, tmp_path, monkeypatch):
    python = os.environ.get(f"DATACHEF_{peer.upper()}_PYTHON", "")
    if not python and importlib.util.find_spec(_NEEDS[peer]) is None:
        pytest.skip(f"{_NEEDS[peer]} is not here, nor DATACHEF_{peer.upper()}_PYTHON")
    monkeypatch.setenv("DATACHEF_DATA", str(data))
    config = _config()
    config.workloads = ("equal", "rl", "judge")
    config.peers[peer] = python or sys.executable
    summary = _run(config, tmp_path)
    for name in ("equal", "rl"):
        found = summary["workloads"][name]
        assert found[peer]["answered"] == found["ours"]["answered"]
    runs = [
        json.loads((tmp_path / "runs" / f"0-rl-{program}-4.json").read_text())
        for program in ("ours", peer)
    ]
    assert runs[0]["greedy"] == runs[1]["greedy"] and len(runs[0]["greedy"][0]) == 4
    if peer == "transformers":
        without = summary["workloads"]["judge"]["ours_without_prefix"]
        assert without["agreement"]["nats"] < 1e-4
        for program in ("ours", "continuous"):
            found = summary["workloads"]["rl"][program]
            assert found["agreement"] == {"tokens": 1.0}


def test_the_best_batch_goes_on():
    runs = {
        Variant(workload="rl", program="ours", rows=16): [{"cpu_seconds": 3.0}],
        Variant(workload="rl", program="ours", rows=32): [{"cpu_seconds": 2.0}],
        Variant(workload="rl", program="tunix", rows=16): ["killed"],
        Variant(workload="rl", program="tunix", rows=32): [{"cpu_seconds": 9.0}],
        Variant(workload="equal", program="tunix", rows=16): ["killed"],
        Variant(workload="equal", program="tunix", rows=32): ["killed"],
    }
    names = [variant.name for variant in bench_engine.best(runs)]
    assert names == ["rl-ours-32", "rl-tunix-32", "equal-tunix-16"]


def test_figures_are_medians_of_the_processes():
    runs = [
        {
            "seconds": seconds, "cpu_seconds": 2 * seconds, "peak_gib": 3.0,
            "loaded_gib": 1.0, "warm_up_cpu_seconds": 5.0, "answered": 60,
            "host_share": share, "versions": {"a": "1"},
        }
        for seconds, share in ((1.0, 0.25), (3.0, None), (2.0, None))
    ]  # fmt: skip
    found = bench_engine.figures(runs, 8 * 2**30)
    assert (found["seconds"], found["cpu_seconds"]) == (2.0, 4.0)
    assert (found["per_second"], found["per_cpu_second"]) == (30.0, 15.0)
    assert (found["floor_gib_per_second"], found["host_share"]) == (4.0, 0.25)
    assert (found["above_weights_gib"], found["processes"]) == (2.0, 3)
    assert bench_engine.figures(runs, None)["floor_gib_per_second"] is None


def test_agreement_ends_at_the_first_token_that_differs():
    other = {"greedy": [[1, 2, 3, 4], [5, 6, 7, 8]], "scores": [[0.5, -1.0]]}
    one = {"greedy": [[1, 2, 3, 4], [5, 9, 7, 8]], "scores": [[0.25, -1.0]]}
    assert bench_engine.agreement(one, other) == {"tokens": 5 / 8, "nats": 0.25}
    nothing = {"greedy": [], "scores": []}
    assert bench_engine.agreement(nothing, nothing) == {}


def test_the_table_by_hand():
    one = {
        "rows": 32, "seconds": 2.0, "cpu_seconds": 4.0, "answered": 60,
        "per_cpu_second": 15.0, "per_second": 30.0, "peak_gib": 3.0,
        "above_weights_gib": 2.0, "host_share": 0.25, "floor_gib_per_second": 4.0,
        "warm_up_cpu_seconds": 5.0, "agreement": {"tokens": 0.625},
        "versions": {"jax": "1", "flax": "2"},
    }  # fmt: skip
    summary = {
        "floor_gib": {"rl": 8.0},
        "workloads": {"rl": {"ours": one, "tunix": {"rows": 4, "not_measured": "no"}}},
        "tried": {"rl-ours-32": 4.0, "rl-tunix-4": "no"},
    }
    lines = bench_engine_table.table(summary).splitlines()
    assert lines[0] == "**rl**: 60 new tokens are asked for; at least 8.0 GiB are moved"
    assert lines[4] == (
        "| ours | 32 | 2.00 | 4.00 | 60 | 15.00 | 30.00 | 3.00 | 2.00 | 25.0% | 4.00 "
        "| 5.0 | 62% | jax 1, flax 2 |"
    )
    assert lines[5] == "| tunix | 4 |" + " – |" * 11 + " no |"
    assert {line.count("|") for line in lines[2:6]} == {15}
    assert lines[-1] == "CPU-seconds of the first round: rl-ours-32 4.0, rl-tunix-4 –."


def test_a_program_that_does_less_than_it_was_asked_has_no_figures():
    workload = {"prompts": [[2], [3]], "new_tokens": [2, 1], "candidates": []}
    measure_engine.check(workload, [[4, 5], [6]])
    with pytest.raises(ValueError, match="row 1 got 2 tokens, 1 were asked"):
        measure_engine.check(workload, [[4, 5], [6, 7]])
    with pytest.raises(ValueError, match="1 rows were answered of 2"):
        measure_engine.check(workload, [[4, 5]])
    with pytest.raises(ValueError, match="row 1 got 1 tokens, 2 were asked"):
        measure_engine.check(
            workload | {"new_tokens": [], "candidates": [7, 8]}, [[0.0, 0.0], [0.0]]
        )


def test_batches_cover_all_rows_in_order():
    assert measure_engine.batches(5, 2) == [range(0, 2), range(2, 4), range(4, 5)]


def test_a_published_size_is_named_by_its_config():
    config = config_file.get_config("qwen3-0.6b")
    assert config.architecture.published == "0.6b"
    with pytest.raises(ValueError, match="'7b' is none of"):
        config_file.get_config("7b")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"workloads": ("chat",)}, r"config\.workloads='chat': must be of"),
        ({"rl.mean_tokens": 13}, r"config\.rl=.*mean_tokens=13 is above cap=12"),
        ({"rows.ours": (4, 5)}, r"config\.rows\.ours=5: must be a multiple of"),
        ({"greedy.tokens": 12}, r"config\.rl=.*config\.greedy\.tokens=12 are compared"),
        ({"architecture.max_positions": 9}, r"config\.rl=.*above max_positions=9"),
        ({"peers.tunix": "no_such_python"}, r"config\.peers\.tunix='no_such_python'"),
        (
            {"peers.tunix": "python", "architecture.rope_theta": 1e4},
            r"config\.architecture\.rope_theta=10000\.0: config\.peers\.tunix reads",
        ),
        ({"architecture.head_dim": 3}, r"config\.architecture=.*head_dim must be even"),
    ],
)
def test_a_fault_of_the_user_is_named(fields, message, tmp_path):
    config = _config()
    config.update_from_flattened_dict(fields)
    with pytest.raises(checks.UserError, match=message):
        _build(config, tmp_path)


def test_real_rows_that_are_not_there_are_refused(tmp_path, monkeypatch):
    config = _config()
    config.workloads = ("judge",)
    monkeypatch.setenv("DATACHEF_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(checks.UserError, match=r"config\.judge=.*set DATACHEF_DATA"):
        _build(config, tmp_path)
    monkeypatch.setenv("DATACHEF_DATA", str(tmp_path))
    with pytest.raises(checks.UserError, match=r"config\.judge=.*is not there"):
        _build(config, tmp_path)


def test_a_published_size_that_there_is_not_is_refused(tmp_path):
    config = config_file.get_config("qwen3-0.6b")
    config.architecture.published = "7b"
    with pytest.raises(checks.UserError, match=r"architecture\.published='7b': must"):
        _build(config, tmp_path)
