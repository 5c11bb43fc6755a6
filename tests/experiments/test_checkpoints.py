"""Tests for experiments/checkpoints.py."""

import pytest

from experiments import checkpoints


@pytest.fixture
def shipped(tmp_path):
    for name in ("base", "judge"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text(name)
    lines = [
        f"{checkpoints.sha256(tmp_path / name / 'model')}  {name}/model\n"
        for name in ("base", "judge")
    ]
    (tmp_path / "SHA256SUMS").write_text("".join(lines))
    return tmp_path


def test_an_intact_folder_is_found_and_others_do_not_matter(shipped):
    (shipped / "judge" / "model").write_text("changed")
    assert checkpoints.find("base", shipped) == shipped / "base"


@pytest.mark.parametrize("content", ["changed", None])
def test_a_changed_or_missing_file_is_named(shipped, content):
    path = shipped / "base" / "model"
    path.write_text(content) if content else path.unlink()
    with pytest.raises(ValueError, match=r"base/model .*SHA256SUMS"):
        checkpoints.find("base", shipped)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="no folder .*nowhere"):
        checkpoints.find("nowhere", tmp_path)


def test_a_folder_without_checksums_is_taken_as_it_is(tmp_path):
    (tmp_path / "mine").mkdir()
    assert checkpoints.find("mine", tmp_path) == tmp_path / "mine"
