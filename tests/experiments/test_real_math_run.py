"""A shortened `configs/real_math.py`, whole path, on the real files where they are."""

import json

import pytest

from datachef_jax.tasks import real_math
from tests.experiments.conftest import ROOT

pytestmark = pytest.mark.slow

_SHORT = {
    "pool.benchmark_size": 8,
    "pool.smallest": 2,
    "pool.largest": 3,
    "sandbox.row_cap": 30,
    "verifier.rows_per_dataset": 4,
    "rl.steps": 1,
    "rl.prompts_per_step": 1,
    "rl.group_size": 4,
    "rl.micro_batch": 4,
    "sampling.rows": 4,
    "sampling.max_new_tokens": 64,
    "finetune.steps": 2,
    "finetune.warmup_steps": 1,
    "evaluation.recipes": 2,
    "evaluation.oracle": 1,
}


@pytest.fixture(scope="module")
def workdir(start_run, tmp_path_factory):
    try:
        real_math.build(ROOT, benchmark_size=8)
    except ValueError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("real_math")
    process = start_run(
        "--config=configs/real_math.py",
        f"--workdir={folder / 'run'}",
        *(f"--config.{field}={value}" for field, value in _SHORT.items()),
        cwd=folder,
    )
    _, stderr = process.communicate(timeout=900)
    assert process.returncode == 0, stderr
    return folder / "run"


def test_hand_written_recipes_run_on_the_real_files_and_are_graded(workdir):
    path = workdir / "evaluation" / "hand-written-seed0" / "gsm8k.jsonl"
    made = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(made) >= 1 + 9  # the expert's, and each source alone
    assert all(rollout["num_rows"] > 0 for rollout in made)
    assert sum(rollout["outcome"] == "scored" for rollout in made) >= 2


def test_they_train_the_target_and_stand_in_the_report(workdir):
    methods = json.loads((workdir / "summary.json").read_text())["methods"]
    assert methods["expert"]["tasks"]["gsm8k"]["dbs"]["mean"] is not None
    fine_tunes = workdir.glob("**/seed0/gsm8k/*.json")
    losses = [json.loads(path.read_text())["final_loss"] for path in fine_tunes]
    assert sum(loss is not None for loss in losses) >= 2
    assert "gsm8k" in (workdir / "report.html").read_text()
