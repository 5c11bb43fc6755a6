"""Tests for configs/: every file loads, and what it names is there and intact."""

import importlib.util
import inspect
import json
import pathlib

import ml_collections as mlc
import pytest

from experiments import build
from experiments import checkpoints
from experiments import checks

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CONFIGS = sorted((_ROOT / "configs").rglob("*.py"))


def _name(path: pathlib.Path) -> str:
    return str(path.relative_to(_ROOT / "configs"))


def _load(path: pathlib.Path) -> mlc.ConfigDict:
    spec = importlib.util.spec_from_file_location("a_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def _leaves(config: mlc.ConfigDict, path: str = "config"):
    for key, value in config.items():
        if isinstance(value, mlc.ConfigDict):
            yield from _leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


@pytest.mark.parametrize("path", _CONFIGS, ids=_name)
def test_a_config_loads_and_names_a_programme(path):
    config = _load(path)
    assert config.experiment in build.PROGRAMMES
    checks.ranges(json.loads(config.to_json()))  # as `run.py` does


@pytest.mark.parametrize("path", _CONFIGS, ids=_name)
def test_no_field_is_without_a_type(path):
    """A field that is None takes values of any type from the command line."""
    assert not [name for name, value in _leaves(_load(path)) if value is None]


@pytest.mark.parametrize("path", _CONFIGS, ids=_name)
def test_a_config_says_how_to_run_it(path):
    spec = importlib.util.spec_from_file_location("a_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert f"--config=configs/{_name(path)}" in inspect.getdoc(module)


@pytest.mark.parametrize("path", _CONFIGS, ids=_name)
def test_the_checkpoints_it_names_are_intact(path):
    for field, value in _leaves(_load(path)):
        shipped = isinstance(value, str) and value.startswith("configs/")
        if shipped and field.endswith((".checkpoint", ".tokenizer")):
            checkpoints.find(value, _ROOT)


def test_all_shipped_files_have_a_checksum():
    folder = _ROOT / "configs" / "mini" / "checkpoints"
    listed = checkpoints.sums(folder)
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    found = {str(path.relative_to(folder)): checkpoints.sha256(path) for path in files}
    assert found == listed
    shipped = sum((folder / name).stat().st_size for name in listed)
    assert shipped <= 12e6
