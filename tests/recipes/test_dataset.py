"""Drawing from datasets, and reading files of them that users name."""

import json

import numpy as np
import pytest

from datachef_jax.recipes import dataset


def test_a_file_that_a_user_names_is_whole_or_refused(tmp_path):
    turns = [{"role": r, "content": "x"} for r in ("user", "assistant")]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"dialogs": turns, "more": 1}) + "\n\n")
    assert dataset.read_file(path) == [{"dialogs": turns}]
    path.write_text("{}\n")
    with pytest.raises(ValueError, match="rows.jsonl, line 1: a row must be"):
        dataset.read_file(path)
    path.write_text("{\n")
    with pytest.raises(ValueError, match="rows.jsonl, line 1 is not JSON"):
        dataset.read_file(path)


def test_draws_are_without_replacement_and_fixed_by_the_seed():
    drawn = dataset.draw(100, 30, 5)
    assert len(set(drawn.tolist())) == 30 and set(drawn.tolist()) <= set(range(100))
    np.testing.assert_array_equal(drawn, dataset.draw(100, 30, 5))
    np.testing.assert_array_equal(drawn[:10], dataset.draw(100, 10, 5))
    assert drawn.tolist() != dataset.draw(100, 30, 6).tolist()
    assert sorted(dataset.draw(7, 30, (1, 2)).tolist()) == list(range(7))
