"""One sandbox for all tests."""

import json

import pytest

from sandbox.job import Job
from sandbox.job import SourceFile
from tests.sandbox import small


@pytest.fixture(scope="session")
def _model():
    return small.Model()


@pytest.fixture
def model(_model):
    """Returns the language model of `sandbox`, as new."""
    _model.forget()
    return _model


@pytest.fixture(scope="session")
def sandbox(_model):
    with small.started(workers=4, answer=_model) as running:
        yield running


@pytest.fixture
def source(tmp_path):
    """Returns a source of ten rows, `toy/numbers`."""
    path = tmp_path / "numbers.jsonl"
    path.write_text(
        "".join(json.dumps({"n": n, "t": f"t{n}"}) + "\n" for n in range(10))
    )
    return SourceFile(
        id="toy/numbers",
        path=path,
        format="jsonl",
        records="",
        split="train",
        name="default",
    )


@pytest.fixture
def run(sandbox, source):
    """Returns a function that runs one script, with `toy/numbers` as its source."""

    def run_one(script, *, verification="", row_cap=0, seed=0, sources=(source,)):
        job = Job(
            processing=script,
            verification=verification,
            sources=tuple(sources),
            row_cap=row_cap,
            seed=seed,
        )
        return sandbox.run([job])[0]

    return run_one
