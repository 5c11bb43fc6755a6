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
_FILES = sorted((_ROOT / "configs").rglob("*.py"))
_SIZES = {
    name: ("0.6b", "8b", "32b")
    for name in ("grpo_qwen3", "cold_start_qwen3", "table5")
}
_CONFIGS = [(path, size) for path in _FILES for size in _SIZES.get(path.stem, (None,))]


def _name(value) -> str:
    inside = isinstance(value, pathlib.Path)
    return str(value.relative_to(_ROOT / "configs")) if inside else str(value)


def _module(path: pathlib.Path):
    spec = importlib.util.spec_from_file_location("a_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load(path: pathlib.Path, size: str | None) -> mlc.ConfigDict:
    get_config = _module(path).get_config
    return get_config() if size is None else get_config(size)


def _leaves(config: mlc.ConfigDict, path: str = "config"):
    for key, value in config.items():
        if isinstance(value, mlc.ConfigDict):
            yield from _leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


@pytest.mark.parametrize("path, size", _CONFIGS, ids=_name)
def test_a_config_loads_and_names_a_programme(path, size):
    config = _load(path, size)
    assert config.experiment in build.PROGRAMMES
    checks.ranges(json.loads(config.to_json()))  # as `run.py` does


@pytest.mark.parametrize("path, size", _CONFIGS, ids=_name)
def test_no_field_is_without_a_type(path, size):
    """A field that is None takes values of any type from the command line."""
    assert not [name for name, value in _leaves(_load(path, size)) if value is None]


@pytest.mark.parametrize("path", _FILES, ids=_name)
def test_a_config_says_how_to_run_it(path):
    assert f"--config=configs/{_name(path)}" in inspect.getdoc(_module(path))


@pytest.mark.parametrize("path, size", _CONFIGS, ids=_name)
def test_the_checkpoints_it_names_are_intact(path, size):
    for field, value in _leaves(_load(path, size)):
        shipped = isinstance(value, str) and value.startswith("configs/")
        if shipped and field.endswith((".checkpoint", ".tokenizer")):
            checkpoints.find(value, _ROOT)


@pytest.mark.parametrize("name", _SIZES)
def test_a_size_that_is_not_published_is_refused(name):
    with pytest.raises(ValueError, match="'7b' is none of"):
        _load(next(path for path in _FILES if path.stem == name), "7b")


def test_all_shipped_files_have_a_checksum():
    folder = _ROOT / "configs" / "mini" / "checkpoints"
    listed = checkpoints.sums(folder)
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    found = {str(path.relative_to(folder)): checkpoints.sha256(path) for path in files}
    assert found == listed
    shipped = sum((folder / name).stat().st_size for name in listed)
    assert shipped <= 12e6
