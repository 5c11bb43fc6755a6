"""Tests for experiments/compile.py; what compiles wants libtpu."""

import importlib.util

import jax
import pytest

from configs.compile import qwen3_32b
from experiments import checks
from experiments import compile
from experiments import programs

_FITS = {
    "program": "GRPO update",
    "topology": "v5e-256",
    "mesh": "32 x 8",
    "shape": "128 x 16384",
    "petaflops": 891.2,
    "fits": True,
    "arguments_gib": 1.432,
    "temporaries_gib": 8.913,
    "peak_gib": 10.344,
    "hbm_share": 0.6465,
    "step_seconds": 44.18,
    "seconds": 111.2,
}


def test_the_table_says_what_fits_and_what_does_not():
    too_large = {k: _FITS[k] for k in ("program", "topology", "mesh", "shape")} | {
        "fits": False, "needs_gib": 20.25, "of_gib": 15.75, "seconds": 3.0
    }  # fmt: skip
    *_, first, second = compile.table([_FITS, too_large]).splitlines()
    assert "| 1.43 | 8.91 | 10.34 | 65% | 891.2 | 44.2 | 111 |" in first
    assert "does not fit: needs 20.2 of 15.8 GiB" in second
    assert first.count("|") == second.count("|")


@pytest.mark.parametrize(
    "said",
    [
        "RESOURCE_EXHAUSTED: ... Used 20.25G of 15.75G hbm. Exceeded hbm capacity by",
        "Ran out of memory on HBM, the total memory required for HLO temporaries "
        "(20.25G) exceeds available HBM (15.75G).",
    ],
)
def test_a_compiler_that_finds_no_room_says_how_much_it_needs(said):
    error = ValueError(said)
    assert compile.needs(error) == {"needs_gib": 20.25, "of_gib": 15.75}
    with pytest.raises(ValueError, match="another"):
        compile.needs(ValueError("another"))


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is not None, reason="libtpu is there"
)
def test_without_libtpu_it_says_what_to_install(tmp_path):
    with pytest.raises(checks.UserError, match="pip install -r requirements-parity"):
        compile.build(qwen3_32b.get_config(), tmp_path, tmp_path)


@pytest.fixture
def config():
    """Returns the config of the 32B run for four chips, with a model that is small."""
    pytest.importorskip("libtpu")  # requirements-parity.txt
    config = qwen3_32b.get_config()
    for section in (config.policy, config.judge, config.generator, config.base):
        section.checkpoint = "random/0.6b"
    config.sampling.update(max_prompt_tokens=256, max_new_tokens=256, rows=8)
    config.rl.update(prompts_per_step=2, group_size=4, micro_batch=4)
    config.evaluation.update(recipes=8)
    (target, *_) = config.compile.topologies
    config.compile.topologies = (
        target | {"name": "v5e-4", "topology": "v5e:2x2", "data": 2, "model": 2},
    )
    return config


@pytest.mark.parity
def test_programs_of_a_run_compile_and_are_measured(config):
    (target,) = config.compile.topologies
    with jax.set_mesh(compile.make_mesh(target)):
        made = {
            program.name: compile.measure(program, target, efficiency=0.4)
            for program in programs.of_run(config, hbm_bytes=2**34)
            if program.name in ("GRPO update", "reshard to the sampler")
        }
    update, reshard = made["GRPO update"], made["reshard to the sampler"]
    assert update["fits"] and reshard["fits"]
    # 0.6 billion weights, six operations each and token, two more for the remat.
    tokens, layers = 8 * 512, 0.44e9
    assert 1.0 < update["petaflops"] * 1e15 / (8 * layers * tokens) < 1.6
    # Weights and Adam's two moments in float32 on four chips.
    assert 1.6 < update["arguments_gib"] < 1.75
    assert update["peak_gib"] > update["arguments_gib"]
    assert update["step_seconds"] > 0.0
    # A quarter of the embedding in four bytes, at least a half of it in two.
    embedding = 151_936 * 1024 / 2**30
    assert reshard["arguments_gib"] == pytest.approx(embedding)
    assert 2 * embedding <= reshard["peak_gib"] < 4 * embedding


@pytest.mark.parity
def test_the_search_ends_at_the_largest_micro_batch(config, tmp_path):
    experiment = compile.build(config, tmp_path, tmp_path)
    (target,) = experiment.topologies
    with jax.set_mesh(compile.make_mesh(target)):
        row = experiment.largest(target)
    assert row["program"] == "GRPO update, largest micro-batch"
    assert row["fits"] and row["shape"].endswith(", 8 at a time")


@pytest.mark.parity
def test_a_program_that_does_not_fit_is_a_row_of_the_table(config):
    config.policy.checkpoint = "random/14b"
    (target,) = config.compile.topologies
    with jax.set_mesh(compile.make_mesh(target)):
        update = programs.grpo_update(config, micro_batch=8)
        row = compile.measure(update, target, efficiency=0.4)
    assert not row["fits"] and row["needs_gib"] > row["of_gib"] > 15.0
    assert "does not fit: needs" in compile.table([row])


@pytest.mark.parity
@pytest.mark.parametrize(
    "field, value, said",
    [
        ("topology", "v5e:3x7x9", "v5e:3x7x9"),
        ("data", 3, "mesh 3 x 2 does not cover 4"),
        ("data", "2", "data='2' is of the wrong type"),
        ("hbm", 16.0, "must have the keys"),
    ],
)
def test_a_topology_that_is_none_is_refused(field, value, said, config, tmp_path):
    (target,) = config.compile.topologies
    config.compile.topologies = (target | {field: value},)
    with pytest.raises(checks.UserError, match=said):
        compile.build(config, tmp_path, tmp_path)
