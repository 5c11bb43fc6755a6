"""Makes the libraries that scripts use ready before the fork, and fresh after it."""

from collections.abc import Callable
import functools
import pathlib
import random
import sys
import tempfile
from typing import Any

import datasets
import numpy
import pandas

from sandbox import aidp
from sandbox.aidp import answers
from sandbox.aidp import duplicates
from sandbox.aidp import hints
from sandbox.aidp import llm
from sandbox.aidp import loading
from sandbox.aidp import operators
from sandbox.aidp import rows
from sandbox.aidp import session

_MODULES = {
    "aidp": aidp,
    "aidp.answers": answers,
    "aidp.duplicates": duplicates,
    "aidp.hints": hints,
    "aidp.llm": llm,
    "aidp.loading": loading,
    "aidp.operators": operators,
    "aidp.rows": rows,
    "aidp.session": session,
}


def prepare() -> None:
    """Runs through what scripts use, so that lazy imports are done, without threads.

    From here on `import aidp` finds the toolkit.
    """
    sys.modules.update(_MODULES)
    datasets.disable_caching()
    datasets.disable_progress_bars()
    datasets.utils.tqdm.monitor_interval = 0  # no thread that watches progress bars
    rows.disable_fingerprints()
    for method in ("map", "filter"):
        changed = _in_one_process(getattr(datasets.Dataset, method))
        setattr(datasets.Dataset, method, changed)
    ds = rows.from_rows([{"text": "a", "number": 1}], source="warm/up")
    ds = ds.map(lambda row: {"more": row["text"]}).filter(lambda row: row["number"])
    ds = datasets.concatenate_datasets([ds, ds]).select([0]).shuffle(seed=0)
    pandas.DataFrame(ds.to_list()).drop_duplicates("text").to_json(orient="records")
    ds.data.table.to_pandas(use_threads=False)


def _in_one_process(method: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method of `Dataset` that ignores `num_proc`: it changes no result."""

    @functools.wraps(method)
    def call(*args: Any, num_proc: int | None = None, **kwargs: Any) -> Any:
        del num_proc
        return method(*args, **kwargs)

    return call


def reset(*, seed: int, directory: pathlib.Path) -> None:
    """Seeds the global generators and puts temporary files into `directory`.

    Both are state of libraries that a forked process would share with its siblings.
    """
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    tempfile.tempdir = str(directory)
    datasets.config.HF_DATASETS_CACHE = directory
