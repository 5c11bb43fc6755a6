"""Tests for experiments/checks.py."""

import json
import math

import pytest

from experiments import checks
from experiments import results
from tests.experiments import sample_config


def test_an_empty_or_absent_folder_is_a_new_run(tmp_path):
    assert not checks.workdir(tmp_path / "none", {})
    assert not checks.workdir(tmp_path, {})
    (tmp_path / ".config.json.x1").touch()  # killed while writing its first file
    assert not checks.workdir(tmp_path, {})


def test_the_same_config_goes_on(tmp_path):
    config = {"rl": {"group_size": 8}, "tasks": ["a"]}
    results.write_json(tmp_path / "config.json", config)
    assert checks.workdir(tmp_path, config)


@pytest.mark.parametrize(
    "ours, field, there, here",
    [
        ({"rl": {"group_size": 4}, "seed": 0}, "config.rl.group_size", "8", "4"),
        ({"rl": {}, "seed": 0}, "config.rl.group_size", "8", "not set"),
        ({"rl": {"group_size": 8}, "seed": 1}, "config.seed", "0", "1"),
        ({"rl": {"a": 1, "group_size": 8}, "seed": 0}, "config.rl.a", "not set", "1"),
    ],
)
def test_another_config_is_refused_by_its_first_field(
    tmp_path, ours, field, there, here
):
    theirs = {"rl": {"group_size": 8}, "seed": 0}
    results.write_json(tmp_path / "config.json", theirs)
    with pytest.raises(checks.UserError, match=rf"{field} is .*{there}.* and .*{here}"):
        checks.workdir(tmp_path, ours)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(checks.UserError, match="no run"):
        checks.workdir(tmp_path, {})
    with pytest.raises(checks.UserError, match="a file"):
        checks.workdir(tmp_path / "thesis.tex", {})


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError])
def test_blame_names_field_and_value(kind):
    with pytest.raises(checks.UserError, match="config.mesh=3: too many"):
        with checks.blame("config.mesh", 3):
            raise kind("too many")


def test_blame_lets_our_own_bugs_through():
    with pytest.raises(TypeError):
        with checks.blame("config.mesh", 3):
            raise TypeError("a bug")


@pytest.mark.parametrize(
    "section, field, value",
    [
        ("rl", "group_size", 1),
        ("rl", "micro_batch", 3),
        ("rl", "ratio", "sentence"),
        ("sampling", "temperature", 0.0),
        ("pool", "smallest", 4),
        ("rl", "surrogate", "ppo"),
        ("rl", "weights_per", "sentence"),
        ("rl", "engine_weights", "word"),
        ("rl", "max_engine_weight", 0.5),
        ("rl", "overlong_tokens", 5),
        ("rl", "kl", "k4"),
    ],
)
def test_numbers_that_do_not_fit_are_named(section, field, value):
    config = sample_config.get_config("tokenizer")
    checks.numbers(config)
    config[section][field] = value
    with pytest.raises(checks.UserError, match=rf"config\.{section}\.{field}="):
        checks.numbers(config)


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("sandbox.workers", 0, "at least 1"),
        ("checkpoint.every_steps", 0, "at least 1"),
        ("sandbox.row_cap", -1, "at least 0"),
        ("optimizer.learning_rate", -1.0, "at least 0"),
        ("optimizer.learning_rate", math.nan, "at least 0"),
        ("optimizer.learning_rate", math.inf, "at least 0"),
        ("optimizer.max_grad_norm", 0.0, "above 0"),
        ("finetune.b2", 1.0, "at least 0 and below 1"),
        ("judge.min_mass", 1.5, "between 0 and 1"),
        ("judge.max_prompt_tokens", 0, "at least 1"),
        ("mesh.data", 0, "-1 or at least 1"),
    ],
)
def test_a_number_out_of_its_range_is_named(path, value, words):
    config = json.loads(sample_config.get_config("tokenizer").to_json())
    checks.ranges(config)
    *folders, name = path.replace("[1]", ".1").split(".")
    node = config
    for folder in folders:
        node = node[folder]
    node[int(name) if name == "1" else name] = value
    with pytest.raises(checks.UserError) as caught:
        checks.ranges(config)
    assert str(caught.value) == f"config.{path}={value!r}: must be {words}"
