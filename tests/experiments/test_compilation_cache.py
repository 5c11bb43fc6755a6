"""Tests for experiments/compilation_cache.py."""

import pathlib

import jax
import pytest

from experiments import compilation_cache

_FOLDER, _SIZE = "jax_compilation_cache_dir", "jax_compilation_cache_max_size"


@pytest.fixture(autouse=True)
def _settings():
    """Leaves JAX's settings as they were."""
    before = {name: getattr(jax.config, name) for name in (_FOLDER, _SIZE)}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache_for_this_kind_of_cpu(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flags = "flags : {}\nmodel name : x\n"
    folders = []
    for instructions in ("sse4 avx2", "sse4 avx2", "sse4 avx2 avx512f"):
        cpu = tmp_path / "cpuinfo"
        cpu.write_text("processor : 0\n" + flags.format(instructions))
        monkeypatch.setattr(compilation_cache, "_CPU", cpu)
        jax.config.update(_FOLDER, None)
        folders.append(pathlib.Path(compilation_cache.keep_programs()))
        assert getattr(jax.config, _FOLDER) == str(folders[-1])
    assert folders[0] == folders[1] != folders[2]
    assert {folder.parent for folder in folders} == {tmp_path / "datachef_jax"}
    assert getattr(jax.config, _SIZE) > 0


def test_a_folder_of_the_users_own_is_left_alone(tmp_path):
    jax.config.update(_FOLDER, str(tmp_path))
    jax.config.update(_SIZE, -1)
    assert compilation_cache.keep_programs() == str(tmp_path)
    assert (getattr(jax.config, _FOLDER), getattr(jax.config, _SIZE)) == (
        str(tmp_path),
        -1,
    )
