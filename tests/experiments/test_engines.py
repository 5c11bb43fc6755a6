"""Tests for experiments/engines.py; that engines serve is seen wherever they do."""

import pytest

from configs import quickstart
from experiments.engines import Needs


@pytest.mark.parametrize(
    ("turns", "again"),
    [({}, False), ({"apart": True}, True), ({"retries": 1}, True)],
)
def test_who_answers_again_reads_all_that_has_been_said(turns, again):
    """The prompt of a later answer is the first one's, and nearly a completion."""
    config = quickstart.get_config()
    config.turns.update(turns)
    said = config.sampling.max_new_tokens if again else 0
    for name in ("policy", "untrained"):
        need = Needs(config).of(name)
        assert need.max_prompt == config.sampling.max_prompt_tokens + said
        assert need.max_new_tokens == config.sampling.max_new_tokens
