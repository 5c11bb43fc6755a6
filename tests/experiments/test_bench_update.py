"""Tests for experiments/bench_update.py and bench_mfu.py: the path, never the times."""

import json
import sys

import pytest

from configs.bench import update as config_file
from datachef_jax.models.qwen3.config import Qwen3Config
from experiments import bench_inputs
from experiments import bench_mfu
from experiments import bench_update
from experiments import build_bench
from experiments import checks
from experiments import environment
from tests.experiments import conftest


def _config():
    """Returns the benchmark, as small as it gets."""
    config = config_file.get_config()
    config.architecture.update(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_layers=2,
        num_heads=4, num_kv_heads=2, head_dim=8,
    )  # fmt: skip
    config.batch.update(rows=4, prompt_tokens=8, new_tokens=8, shortest_completion=5)
    config.variants = (
        dict(program="ours", remat="none", micro_batch=4),
        dict(program="ours", remat="full", micro_batch=2),
        dict(program="tunix", remat="none", micro_batch=4),
    )
    config.update(rounds=1, steps=1)
    return config


def _run(config, folder):
    experiment = build_bench.PROGRAMMES["bench_update"](config, folder, conftest.ROOT)
    experiment.run(environment.Environment(folder / "e.json", root=conftest.ROOT))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns the folder of a run without peers."""
    folder = tmp_path_factory.mktemp("bench")
    _run(_config(), folder)
    return folder


def test_every_variant_has_its_figures_or_a_reason(finished):
    summary = json.loads((finished / "summary.json").read_text())
    updates = summary["updates"]
    assert list(updates) == ["ours-none-4", "ours-full-2", "tunix-none-4"]
    assert updates["tunix-none-4"] == {"not_measured": "no interpreter is given"}
    for name in ("ours-none-4", "ours-full-2"):
        one = updates[name]
        assert one["processes"] == 1
        assert one["seconds"] > 0 and one["peak_gib"] > one["above_weights_gib"] > 0
        assert len(one["loss"]) == 2 and one["loss"][0] != one["loss"][1]
        assert one["versions"].keys() == {"jax", "jaxlib", "flax", "optax"}
    assert "CPU" in summary["mfu"]["not_measured"]
    assert 0 <= summary["differences"]["loss"] < 1e-4
    assert 0 <= summary["differences"]["grad_norm"] < 1e-3
    text = (finished / "table.md").read_text()
    assert text.count("\n| ours |") == 2 and "| tunix | none | 4 | –" in text


def test_a_killed_run_goes_on_with_what_it_has(finished, capsys):
    files = {path: path.read_bytes() for path in (finished / "runs").iterdir()}
    (finished / "summary.json").unlink()
    _run(_config(), finished)
    assert (finished / "summary.json").exists()
    assert {p: p.read_bytes() for p in (finished / "runs").iterdir()} == files
    printed = capsys.readouterr().out
    assert printed.count("tunix is not measured: config.peers.tunix is empty") == 1


def test_programs_that_compute_different_things_end_the_run(finished, tmp_path):
    config = _config()
    config.tolerance.loss = 0.0
    (tmp_path / "runs").mkdir()
    for i, name in enumerate(("ours-none-4", "ours-full-2")):
        found = json.loads((finished / "runs" / f"0-{name}.json").read_text())
        found["loss"][0] += 0.1 * i
        (tmp_path / "runs" / f"0-{name}.json").write_text(json.dumps(found))
    with pytest.raises(RuntimeError, match="not compute the same: loss differs"):
        _run(config, tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_a_program_that_fails_says_why(tmp_path):
    job = {"folder": "nowhere", "dtype": "float32"}
    found = bench_inputs.start(
        sys.executable, "our_update", job, tmp_path / "x", root=conftest.ROOT
    )
    assert found.startswith("ended with 1 ") and "KeyError" in found


def test_differences_are_relative_and_skip_what_is_unknown():
    updates = {
        "a": {"loss": [1.0, 2.0], "grad_norm": 4.0},
        "b": {"loss": [1.0, 3.0], "grad_norm": None},
        "c": {"not_measured": "no interpreter is given"},
        "d": {"loss": [1.0, 2.5], "grad_norm": 6.0},
    }
    assert bench_update.differences(updates) == {"loss": 0.4, "grad_norm": 0.4}


def test_operations_are_counted_by_hand():
    sizes = Qwen3Config(
        vocab_size=10, hidden_size=4, intermediate_size=3, num_layers=2, num_heads=2,
        num_kv_heads=1, head_dim=2, rope_theta=1e4, rms_norm_eps=1e-6,
        tie_embeddings=True, max_positions=8,
    )  # fmt: skip
    rows = bench_inputs.Rows(
        rows=3, prompt_tokens=4, new_tokens=2, shortest_completion=2, behavior_noise=0.0
    )
    # Projections 16 + 8 + 8 + 16, feed-forward 36, norms 4 + 4 + 2 + 2; one at the end.
    layers = 2 * (48 + 36 + 12) + 4
    attention = 2 * 2 * (2 * 2) * 6 / 2  # layers, products, all heads, half of 6 tokens
    assert bench_mfu.flops(sizes, rows) == 6 * 3 * (6 * (layers + attention) + 2 * 40)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"batch.shortest_completion": 9}, r"shortest_completion=9: is above"),
        ({"peers.trl": "no_such_python"}, r"config\.peers\.trl='no_such_python'"),
        ({"mfu.models": ("qwen4",)}, r"config\.mfu\.models='qwen4': must be one of"),
        (
            {"variants": (dict(program="ours", remat="none", micro_batch=3),)},
            r"config\.variants\[0\]=.*4 rows cannot be divided",
        ),
        (
            {"variants": (dict(program="verl", remat="none", micro_batch=1),)},
            r"config\.variants\[0\]=.*the programs are ours and",
        ),
    ],
)
def test_a_fault_of_the_user_is_named(fields, message, tmp_path):
    config = _config()
    config.update_from_flattened_dict(fields)
    with pytest.raises(checks.UserError, match=message):
        build_bench.PROGRAMMES["bench_update"](config, tmp_path, conftest.ROOT)
