"""Tests for experiments/verifiers.py."""

import json

from datachef_jax.verifier.gates import correctness
from configs import tiny
from experiments import verifiers
from tests import blank
from tests.sandbox import small


def test_what_is_known_decides_before_what_a_program_finds(tmp_path):
    path = tmp_path / "references.jsonl"
    path.write_text(json.dumps({"question": "How many?", "answer": "4"}))
    config = tiny.get_config()
    assert verifiers.references(config, small.started(), tmp_path) is None
    config.verifier.references = path.name  # relative to the root, as checkpoints are
    decide = verifiers._in_turn(
        verifiers.references(config, small.started(), tmp_path), correctness.arithmetic
    )
    rows = [("How many?", "4"), ("How many?", "2 + 2 = 5"), ("Which?", "2 + 2 = 5")]
    task = blank.task("math", contract="plain")
    assert decide(task, [*rows, ("Which?", "4")]) == [True, False, False, None]
    stated = [("How many?", "2 + 2 = 4")]  # right arithmetic, and not the bare answer
    assert decide(task, stated) == [False]
