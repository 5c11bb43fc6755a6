"""Tests for experiments/bench_verifier.py and the programs it starts, never the times.

The peer runs where its packages are: in the environment of the tests, or in the one
whose Python DATACHEF_TRANSFORMERS_PYTHON names.
"""

import dataclasses
import importlib.util
import json
import math
import os
import pathlib
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs.bench import verifier as config_file
from datachef_jax import types
from datachef_jax.models.qwen3 import weights
from datachef_jax.tasks import real_math
from experiments import bench_inputs
from experiments import bench_verifier
from experiments import bench_verifier_table
from experiments import build_bench_verifier
from experiments import checks
from experiments import environment
from experiments.bench_engine import Variant
from experiments.peers import our_steps
from experiments.peers import our_verifier
from tests import blank
from tests import tiny
from tests.experiments import conftest
from tests.training import scripted


def _config(tokenizer_folder):
    """Returns the benchmark's config with a judge of 10,000 weights."""
    config = config_file.get_config()
    config.tokenizer = str(tokenizer_folder)
    config.judge.update(max_prompt_tokens=512, min_mass=0.0)
    config.engine.page_size = 16
    config.policy.unroll = 2
    return config


def _row(question, answer):
    turns = (("user", question), ("assistant", answer))
    return {"dialogs": [dict(role=role, content=text) for role, text in turns]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer_folder):
    """Returns the folder of a setting: two datasets, some of whose rows are stopped."""
    folder = tmp_path_factory.mktemp("setting")
    model = tiny.random_model(600)
    weights.save(model, folder / "weights", stored_dtype="float32")
    config = _config(tokenizer_folder)
    config.judge.checkpoint = str(folder / "weights")
    tasks = [
        dataclasses.replace(blank.task(name), instruction=f"Add, as in {name}.")
        for name in ("first", "second")
    ]
    rows = [_row(f"What is {n} + {n}?", str(2 * n)) for n in range(9)]
    datasets = [[*rows, rows[0], _row("empty", " ")], rows[:5]]
    executions = [
        types.Execution(kind="ok", log="", dataset=types.Dataset(rows=tuple(made)))
        for made in datasets
    ]
    inputs = our_verifier.Inputs(
        config=config.to_dict(),
        pool=tasks,
        tasks=tasks,
        executions=executions,
        seeds=[3, 4],
    )
    counts = bench_verifier.write_inputs(inputs, folder, conftest.ROOT)
    assert counts == {
        "datasets": 2, "rows": 16, "drawn": 16, "judged": 15, "prompts": 14,
        "tokens": pytest.approx(counts["tokens"]),
    }  # fmt: skip
    return folder


def _prompts(folder):
    return json.loads((folder / "workload.json").read_text())["prompts"]


def _scores(folder):
    """Returns log-probabilities of the grades, by the model and without an engine."""
    workload = json.loads((folder / "workload.json").read_text())
    model = weights.load(folder / "weights", tiny.COMPUTE)
    found = []
    for prompt in workload["prompts"]:
        tokens, places = np.array([prompt]), np.arange(len(prompt))[None]
        hidden = model(jnp.array(tokens), jnp.array(places), None)[:, -1:]
        logits = np.asarray(model.logits(hidden), np.float64)[0, 0]
        normal = logits - special.logsumexp(logits)
        found.append(normal[workload["candidates"]].tolist())
    return found


def test_the_judge_alone_and_the_whole_verifier_ask_for_the_same(folder):
    inputs = our_verifier.read(folder / "inputs.pickle")
    found = set()
    # Whoever was warmed up finds nothing that has been read or is remembered.
    for alone, warm in ((False, True), (True, True), (False, False), (True, False)):
        program, client = our_verifier.make(
            inputs, judge_alone=alone, root=conftest.ROOT
        )
        if warm:
            program.warm_up()
            assert client.read_tokens > 0
        scores = program.run()
        found.add((str(scores), client.read_tokens))
        assert client.cpu_seconds > 0
    ((_, read),) = found
    # Beginnings are read once, all else of every prompt is.
    tokens = sum(map(len, _prompts(folder)))
    assert tokens / 2 < read < tokens
    np.testing.assert_allclose(scores, _scores(folder), atol=1e-4)


@pytest.mark.parity
def test_transformers_gives_the_same_grades_in_any_batch(folder, tmp_path):
    python = os.environ.get("DATACHEF_TRANSFORMERS_PYTHON", "")
    if not python and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not here, nor DATACHEF_TRANSFORMERS_PYTHON")
    for rows in (1, 4):
        job = {
            "folder": str(folder / "weights"),
            "workload": str(folder / "workload.json"),
            "rows": rows,
            "watch_host": False,
        }
        found = bench_inputs.start(
            python or sys.executable,
            "transformers_judge",
            job,
            tmp_path / str(rows),
            root=conftest.ROOT,
        )
        assert found["answered"] == 14
        np.testing.assert_allclose(found["scores"], _scores(folder), atol=1e-5)


def test_calls_belong_to_the_step_whose_update_follows(monkeypatch):
    clock = iter(range(100))

    def read():
        return our_steps.Moment(
            seconds=float(next(clock)), cpu_seconds=2.0, sandbox_cpu_seconds=0.5
        )

    monkeypatch.setattr(our_steps, "now", read)
    watch = our_steps.Watch()
    stages = watch.stages(
        dataclasses.replace(
            scripted.parts()[1],
            verify=lambda tasks, executions, seeds: [f"verdict {i}" for i in seeds],
            update=lambda state, batch: (state, {"loss": 1.0}),
        )
    )
    assert stages.verify(["a"], ["b"], [7]) == ["verdict 7"]
    assert stages.verify([], [], []) == []
    assert stages.update("state", "batch") == ("state", {"loss": 1.0})
    stages.verify(["c"], ["d"], [8])
    stages.update("state", "batch")
    assert [(call.step, call.seeds) for call in watch.calls] == [
        (0, [7]), (0, []), (1, [8])
    ]  # fmt: skip
    assert [moment.seconds for moment in watch.moments] == [0.0, 1.0, 2.0]


def test_figures_of_steps_by_hand():
    watch = our_steps.Watch()
    watch.moments = [
        our_steps.Moment(seconds=s, cpu_seconds=c, sandbox_cpu_seconds=b)
        for s, c, b in ((10.0, 1.0, 0.0), (14.0, 3.0, 1.0), (20.0, 4.0, 1.5))
    ]
    watch.calls = [
        our_steps.Call(step=i, tasks=(), executions=(), seeds=(), seconds=seconds)
        for i, seconds in ((0, 0.5), (1, 1.0), (1, 0.25))
    ]
    alone = [
        our_steps.Moment(seconds=s, cpu_seconds=c, sandbox_cpu_seconds=9.0)
        for s, c in ((30.0, 5.0), (30.5, 5.25), (32.0, 6.0))
    ]
    steps = our_steps.figures(watch, alone)
    assert steps[1] == {
        "seconds": 6.0, "cpu_seconds": 1.0, "sandbox_cpu_seconds": 0.5,
        "verify_seconds": 1.25, "alone_seconds": 1.5, "alone_cpu_seconds": 0.75,
    }  # fmt: skip
    assert bench_verifier.share(steps) == {
        "steps": 2, "seconds": 5.0, "cpu_seconds": 2.25, "alone_seconds": 1.0,
        "alone_cpu_seconds": 0.5, "cpu_share": pytest.approx(0.5 / 2.25),
        "alone_share": 0.2, "stage_share": pytest.approx(0.175),
    }  # fmt: skip


def _run(seconds, cpu, scores=((-1.0, -2.0),), **more):
    return {
        "seconds": seconds, "cpu_seconds": cpu, "peak_gib": 1.0, "loaded_gib": 0.5,
        "warm_up_cpu_seconds": 3.0, "answered": 2, "host_share": None,
        "versions": {"a": "1"}, "scores": [list(row) for row in scores], **more,
    }  # fmt: skip


def _runs():
    def variant(program, rows=0):
        return Variant(workload="mini", program=program, rows=rows)

    ours = dict(engine_cpu_seconds=2.0, read_tokens=30)
    return {
        variant("verifier"): [_run(6.0, 8.0, **ours), _run(6.0, 8.0, **ours)],
        variant("judge"): [_run(2.0, 3.0, **ours)],
        variant("row_by_row", 1): ["ended with 1 no torch"],
        variant("batched", 16): [_run(9.0, 13.0)],
        variant("batched", 32): [_run(8.0, 12.0, ((-1.00001, -2.0),))],
    }


_COUNTS = {
    "datasets": 1, "rows": 40, "drawn": 5, "judged": 4, "prompts": 2, "tokens": 30.0,
}  # fmt: skip


def test_the_summary_by_hand():
    summary = bench_verifier.summarize(_runs(), {"mini": _COUNTS}, 1e-4)
    one = summary["settings"]["mini"]
    assert {p: f["rows"] for p, f in one["figures"].items()} == {
        "verifier": 0, "judge": 0, "row_by_row": 1, "batched": 32
    }  # fmt: skip
    # Each row that was judged counts, also where equal ones were answered once.
    assert one["figures"]["batched"]["per_second"] == 0.5
    assert one["figures"]["judge"]["per_cpu_second"] == pytest.approx(4 / 3)
    assert one["times"]["verifier"]["per_second"] == pytest.approx(8 / 6)
    assert one["times"]["judge"] == {"per_second": 4.0, "per_cpu_second": 4.0}
    assert one["stages"] == {"gates": 5.0, "prompts": 1.0, "engine": 2.0}
    assert one["read_share"] == 0.5
    assert 0 < one["apart"] < 1e-5
    assert summary["tried"]["mini-row_by_row-1"] == "ended with 1 no torch"
    share = {
        "steps": 8, "seconds": 4.0, "cpu_seconds": 5.0, "alone_seconds": 0.25,
        "alone_cpu_seconds": 0.5, "cpu_share": 0.1, "alone_share": 0.0625,
        "stage_share": 0.5,
    }  # fmt: skip
    lines = bench_verifier_table.page(summary | {"steps": share}).splitlines()
    assert lines[0].startswith(
        "**mini**: 40 rows in 1 datasets, 5 drawn, 4 judged, 2 of them different, "
        "30 tokens each, of which our engine reads 50%; grades differ by "
    )
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:8]]
    assert cells[1][:8] == [
        "judge", "–", "2.00", "3.00", "2.0", "750.00", "4.00", "4.00"
    ]  # fmt: skip
    assert cells[2] == ["row_by_row", "1", *["–"] * 8, "ended with 1 no torch"]
    assert cells[3][6:8] == ["–", "–"]
    assert "CPU of the verifier: gates 62%, prompts 12%, engine 25%." in lines
    assert lines[-3].startswith("A GRPO step takes 4.00 s and 5.00 CPU-seconds")
    assert "10.0% of the CPU-seconds, 6.2% of the wall time" in lines[-3]


def test_without_transformers_there_is_nothing_to_compare_with():
    runs = _runs()
    for variant in runs:
        if variant.program in bench_verifier.PEERS:
            runs[variant] = ["no interpreter is given"]
    one = bench_verifier.summarize(runs, {"mini": _COUNTS}, 1e-4)["settings"]["mini"]
    assert one["times"] == {} and one["apart"] == 0.0
    assert one["figures"]["batched"]["not_measured"] == "no interpreter is given"


@pytest.mark.parametrize("other", [(-1.001, -2.0), (-1.1, -2.1), (math.nan, -2.0)])
def test_other_grades_are_an_error(other):
    """Also where all grades are as likely as before, but no longer whether any is."""
    scores = {"verifier": [(-1.0, -2.0)] * 2, "batched": [(-1.0, -2.0), other]}
    with pytest.raises(RuntimeError, match="mini: the grades of batched and verifier"):
        bench_verifier.apart(scores, "mini", 1e-4)
    assert bench_verifier.apart(scores, "mini", 0.1) < 0.1 if other[0] > -2 else True


def test_a_row_of_gsm8k_keeps_its_steps_and_gets_its_box():
    line = {"question": "1 + 1?", "answer": "One and one is <<1+1=2>>2.\n#### 2"}
    turns = build_bench_verifier.gsm8k_row(line)["dialogs"]
    assert turns[0] == {"role": "user", "content": "1 + 1?"}
    assert turns[1]["content"] == "One and one is <<1+1=2>>2.\n\\boxed{2}"


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"settings": ("other",)}, r"config\.settings='other': must be of"),
        (
            {"settings": ("mini",), "warm_up": 30},
            r"config\.warm_up=30: must be below config\.rl\.steps=30",
        ),
        (
            {"settings": ("mini",), "judge.mode": "criteria"},
            r"config\.judge\.mode='criteria': must be 'exp",
        ),
        (
            {"settings": ("mini",), "peers.transformers": "no_such"},
            r"config\.peers\.transformers='no_such'",
        ),
        (
            {"full.changes.architecture.head_dim": 3},
            r"config\.full\.changes\.architecture=.*head_dim must be even",
        ),
    ],
)
def test_a_fault_of_the_user_is_named(fields, message, tmp_path):
    config = config_file.get_config()
    config.update_from_flattened_dict(fields)
    if "full" in config.settings:
        try:
            real_math.data_folder(conftest.ROOT)
        except ValueError as error:
            pytest.skip(str(error))
    with pytest.raises(checks.UserError, match=message):
        build_bench_verifier.build(config, tmp_path, conftest.ROOT)


def test_real_rows_that_are_not_there_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DATACHEF_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(checks.UserError, match=r"config\.settings='full': .*nowhere"):
        build_bench_verifier.build(config_file.get_config(), tmp_path, conftest.ROOT)


@pytest.mark.slow(minutes=1)
def test_a_run_measures_the_mini_judge_and_its_share_of_steps(tmp_path):
    config = config_file.get_config()
    config.settings = ("mini",)
    config.rounds = config.mini.datasets = 1
    config.rl.steps, config.warm_up = 2, 1
    config.rl.update(prompts_per_step=1, group_size=4, micro_batch=4)
    made = build_bench_verifier.build(config, tmp_path, conftest.ROOT)
    made.run(environment.Environment(tmp_path / "e.json", root=conftest.ROOT))
    summary = json.loads((tmp_path / "summary.json").read_text())
    one, steps = summary["settings"]["mini"], summary["steps"]
    assert one["asked"]["datasets"] == 12
    assert one["figures"]["judge"]["answered"] == one["asked"]["judged"] > 100
    assert one["apart"] == 0.0 and min(one["stages"].values()) > 0
    assert steps["steps"] == 1
    assert 0 < steps["alone_cpu_seconds"] < steps["cpu_seconds"]
    files = {
        path: path.read_bytes() for path in pathlib.Path(tmp_path / "runs").iterdir()
    }
    (tmp_path / "summary.json").unlink()
    made.run(environment.Environment(tmp_path / "e.json", root=conftest.ROOT))
    assert {p: p.read_bytes() for p in files} == files  # nothing is measured twice
