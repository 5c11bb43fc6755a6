"""Tests for experiments/finetuning.py."""

import copy
import json

from flax import nnx
import optax
import pytest

from datachef_jax import types
from datachef_jax.finetune import many
from experiments import finetuning
from tests import blank
from tests import engines
from tests import tiny

_STEPS = 3
_TASKS = [
    blank.task(
        name,
        instruction="Say it.",
        contract="plain",
        metric="exact_match",
        examples=(types.Example(question="1", answer="1"),),
    )
    for name in ("one", "two")
]


@pytest.fixture(scope="module")
def parts():
    """Returns what all fine-tuners below share, so that programs compile once."""
    tokenizer = tiny.byte_tokenizer()
    graphdef, params = nnx.split(
        tiny.random_model(tokenizer.vocab_size, seed=3), nnx.Param
    )
    clients = engines.clients(graphdef, params, end_id=tokenizer.end_id)
    training = many.Training(
        graphdef=graphdef,
        params=params,
        frozen=nnx.State({}),
        optimizer=optax.sgd(0.1),
        steps=_STEPS,
        sync_every=2,
    )
    return dict(training=training, tokenizer=tokenizer, client=clients)


def _finetuner(parts, folder):
    return finetuning.Finetuner(
        **parts,
        max_new_tokens=4,
        batch_rows=2,
        row_tokens=48,
        targets_per_row=8,
        max_rows=6,
        folder=folder,
    )


def _rows(text, count=8):
    turns = [("user", "ask"), ("assistant", text)]
    dialogs = [{"role": role, "content": content} for role, content in turns]
    return [{"dialogs": dialogs}] * count


def _mute():
    """Returns a row in which nobody answers: there is nothing to learn."""
    return [{"dialogs": [{"role": "user", "content": "ask"}]}]


def _wanted():
    one, two = _TASKS
    return [
        finetuning.Wanted(one, _rows("a"), 5),
        finetuning.Wanted(one, [], 5),
        finetuning.Wanted(two, _rows("b"), 5),
        finetuning.Wanted(one, _rows("a"), 5),  # again
        finetuning.Wanted(two, _mute(), 5),
        finetuning.Wanted(one, _rows("a"), 6),
    ]


def _files(folder):
    return {
        str(path.relative_to(folder)): json.loads(path.read_text())
        for path in folder.rglob("*.json")
    }


def _many(finetuner, fit, wanted, **how):
    counts = []
    found = finetuner.score_many(
        wanted, fit=fit, progress=counts.append, **dict(width=2) | how
    )
    return found, sum(counts)


@pytest.fixture(scope="module")
def expected(parts, tmp_path_factory):
    """Returns the results of `score` for each dataset, and its files."""
    folder = tmp_path_factory.mktemp("alone")
    finetuner, counts = _finetuner(parts, folder), []
    scores = [
        finetuner.score(task, rows, seed=seed, progress=counts.append)
        for task, rows, seed in _wanted()
    ]
    assert sum(counts) == _STEPS * len(scores)
    return scores, _files(folder)


def test_score_keeps_one_file_for_each_seed_task_and_dataset(expected):
    scores, files = expected
    assert len(files) == 5
    assert files["seed5/one/base.json"] == scores[1]
    assert scores[1]["final_loss"] is None and scores[1]["rows"] == 0
    assert scores[4]["final_loss"] is None and scores[4]["rows"] == 1
    for i, place in [(0, "seed5/one"), (2, "seed5/two"), (5, "seed6/one")]:
        assert files[f"{place}/{scores[i]['dataset']}.json"] == scores[i]
        assert scores[i]["rows"] == 6  # drawn of 8
        assert 0 < scores[i]["final_loss"] < 10
    assert scores[0]["dataset"] == scores[5]["dataset"] != scores[2]["dataset"]


@pytest.mark.parametrize(
    "fit",
    [many.in_threads, pytest.param(many.in_one_program, marks=pytest.mark.slow)],
)
def test_many_scores_are_those_of_each_alone(fit, parts, tmp_path, expected):
    found, counted = _many(_finetuner(parts, tmp_path), fit, _wanted())
    scores, files = copy.deepcopy(expected)
    assert counted == _STEPS * len(found)
    assert _files(tmp_path).keys() == files.keys()
    if fit is many.in_threads:
        assert found == scores
        assert _files(tmp_path) == files
    for one, other in zip(found, scores, strict=True):
        assert list(one) == list(other)
        trained = one.pop("final_loss"), other.pop("final_loss")
        assert (trained[0] is None) == (trained[1] is None)
        assert trained[0] is None or trained[0] == pytest.approx(trained[1], rel=1e-4)
        assert one == other


def test_what_is_done_is_not_done_again(parts, tmp_path, expected):
    finetuner, trained = _finetuner(parts, tmp_path), []

    def noting(training, batches, **settings):
        trained.append(list(batches))
        return many.one_by_one(training, batches, **settings)

    _many(finetuner, noting, _wanted()[:2])
    (place,) = (tmp_path / "seed5" / "one").glob("[!b]*.json")
    place.write_text('{"dbs": 12.5}')
    trained.clear()
    found, counted = _many(finetuner, noting, _wanted())
    digests = [score["dataset"] for score in expected[0]]
    assert trained == [
        [f"two, dataset {digests[2]}, seed 5", f"one, dataset {digests[5]}, seed 6"],
    ]
    assert found[0] == found[3] == {"dbs": 12.5}
    assert counted == _STEPS * len(found)


def test_a_failed_group_leaves_what_was_kept_before_it(parts, tmp_path):
    def failing(training, batches, **settings):
        if any("seed 6" in name for name in batches):
            raise FloatingPointError("no")
        return many.one_by_one(training, batches, **settings)

    with pytest.raises(FloatingPointError):
        _many(_finetuner(parts, tmp_path), failing, _wanted(), width=1)
    assert {path.split("/")[0] for path in _files(tmp_path)} == {"seed5"}
    assert len(_files(tmp_path)) == 4
