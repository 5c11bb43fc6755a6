"""Tests for datachef_jax/text/prompts.py."""

import pathlib

from datachef_jax.text import prompts
from datachef_jax.types import Example
from datachef_jax.types import Handling
from datachef_jax.types import Source
from datachef_jax.types import Task

_PLAIN = Handling(user='row["q"]', assistant='row["a"]')
_TASK = Task(
    name="t",
    domain="d",
    instruction="Learn this.",
    benchmark="T-1",
    benchmark_description="One question.",
    contract="plain",
    metric="exact_match",
    examples=(Example(question="SECRET QUESTION", answer="SECRET ANSWER"),),
    sources=(
        Source(
            id="org/one",
            path=pathlib.Path("/secret/path.jsonl"),
            format="jsonl",
            records="",
            columns=("q", "a"),
            num_rows=9,
            card="Clean rows.",
            examples=({"q": "x" * 50, "a": {"b": "y" * 50}}, {"q": "second"}),
            plain=_PLAIN,
            expert=Handling(user="SECRET EXPERT", assistant="SECRET EXPERT"),
        ),
    ),
)


def _text(**changes):
    style = dict(rules=False, toolkit="", examples_per_source=1, max_example_chars=10)
    return prompts.policy_messages(_TASK, prompts.PromptStyle(**style | changes))[0][
        "content"
    ]


def test_it_says_what_the_paper_says_it_holds():
    text = _text()
    for part in ("Learn this.", "T-1", "One question.", '"org/one"', "Clean rows."):
        assert part in text
    assert '{"q": "xxxxxxxxxx…", "a": {"b": "yyyyyyyyyy…"}}' in text
    assert "second" not in text


def test_a_source_is_described_before_it_is_named():
    assert '(train, default, 9 rows) Clean rows.\n"org/one", "q", "a"\n{' in _text()


def test_the_benchmark_the_expert_and_the_path_stay_hidden():
    text = _text(rules=True, toolkit="load(id)", examples_per_source=5)
    assert "SECRET" not in text and "/secret" not in text


def test_rules_toolkit_and_examples_are_shown_when_asked_for():
    text = _text(rules=True, toolkit="load(id)", examples_per_source=2)
    assert "## Data Processing Workflow" in text and "load(id)" in text
    assert '{"q": "second"}' in text
    assert "## Data Processing Workflow" not in _text()
