"""What tests of the front door share: a tokenizer, and `run.py` as users start it."""

import functools
import os
import pathlib
import subprocess
import sys

import pytest

from datachef_jax.tasks.mini import families
from datachef_jax.tasks.mini import names
from datachef_jax.text import tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def examples_made_once():
    """Keeps the examples of mini tasks: many tests build the same pool, in seconds."""
    generate = families.generate

    @functools.cache
    def keep(name, level, count, seed, exclude):
        family = families.FAMILIES[name]
        return generate(family, level, count, seed=seed, exclude=exclude)

    def kept(family, level, count, *, seed, exclude=()):
        return list(keep(family.name, level, count, seed, frozenset(exclude)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "generate", kept)
        yield


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> pathlib.Path:
    """Returns a folder with a byte-level tokenizer that knows the pool's names."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.train(
        list(names.quoted()) * 2, names=names.quoted(), vocab_size=600, folder=folder
    )
    return folder


@pytest.fixture(scope="session")
def start_run():
    """Returns a function that starts `run.py` in a folder, with arguments."""

    def start(*arguments: str, cwd: pathlib.Path) -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.Popen(
            [sys.executable, str(ROOT / "experiments" / "run.py"), *arguments],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
