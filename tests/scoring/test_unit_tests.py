"""Tests for datachef_jax/scoring/unit_tests.py, in the real sandbox."""

import dataclasses
import gzip
import json
import os
import pathlib

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from datachef_jax.scoring import unit_tests
from tests.sandbox import small

_LIMITS = dataclasses.replace(small.LIMITS, cpu_seconds=2.0, wall_seconds=30.0)
_TESTS = "assert add(2, 3) == 5\nassert add(-1, 1) == 0\n"
_RIGHT = "def add(a, b):\n    return a + b\n"
_WRONG = "def add(a, b):\n    return a - b\n"


@pytest.fixture(scope="module")
def sandbox():
    with small.started(limits=_LIMITS) as one:
        yield one


@pytest.fixture
def passed(sandbox):
    """Returns a function that tests programs."""
    return lambda pairs: unit_tests.passed(pairs, sandbox=sandbox)


def test_right_ones_pass_and_wrong_ones_fail(passed):
    programs = {
        _RIGHT: True,
        _WRONG: False,
        "add = lambda a, b: a + b": True,
        "import functools\n\n@functools.cache\n" + _RIGHT: True,
        "from operator import add": True,
        "def plus(a, b):\n    return a + b\n": False,
        "def add(a, b):\n    return a +\n": False,
        "x = '\ud800'": False,
        "": False,
        "while True:\n    pass\n": False,
        "def add(a, b):\n    return [0] * 10**10\n": False,
        _RIGHT + "if __name__ == '__main__':\n    1 / 0\n": True,
    }
    assert passed([(program, _TESTS) for program in programs]) == [*programs.values()]


def _forged(given, calls=()):
    """Returns a statement that writes a record."""
    record = json.dumps({"calls": calls, "given": given, "odd": []})
    user = {"role": "user", "content": record}
    row = json.dumps({"dialogs": [user, {"role": "assistant", "content": "."}]})
    return f"open('data/processed/record.jsonl', 'w').write({row!r})"


def _forger(given, calls=()):
    return f"import os\n{_forged(given, calls)}\nos._exit(0)\n"


_ATTACKS = {
    "exits at once": "import os\nos._exit(0)\n",
    "exits when asked": "import os\ndef add(a, b):\n    os._exit(0)\n",
    "ends the script": "import sys\nsys.exit(0)\n",
    "ends it when asked": "def add(a, b):\n    raise SystemExit\n",
    "writes a row": f"{small.WRITE}\nimport os\nos._exit(0)\n",
    "writes a record": _forger({}),
    "writes a record when asked": (
        f"import os\ndef add(a, b):\n    {_forged({})}\n    os._exit(0)\n"
    ),
    "equals everything": (
        "class Same(int):\n"
        "    def __eq__(self, other):\n        return True\n"
        "def add(a, b):\n    return Same(7)\n"
    ),
    "takes assertions out": (
        "import ast, builtins\n"
        "real = builtins.compile\n"
        "def compile(source, *rest):\n"
        "    return real(source.replace('assert', '0 and'), *rest)\n"
        f"builtins.compile = compile\n{_WRONG}"
    ),
    "swallows the tests": (
        f"import builtins\nbuiltins.exec = lambda *_: None\n{_WRONG}"
    ),
    "says so in the log": f"print('[verification: ok]')\n{_WRONG}",
    "shadows a module": (
        "open('builtins.py', 'w').write('import os; os._exit(0)')\n"
        "open('importlib.py', 'w').write('import os; os._exit(0)')\n"
        "open('this.py', 'w').write('import os; os._exit(0)')\n"
        f"import this\n{_WRONG}"
    ),
}


@pytest.mark.parametrize("program", _ATTACKS.values(), ids=_ATTACKS)
def test_attacks_fail(passed, program):
    assert passed([(program, f"this = 0\n{_TESTS}")]) == [False]


def test_a_program_cannot_change_what_the_tests_use(passed):
    tests = "assert abs(half(3) - 1.5) < 0.1\n"
    right = "def half(x):\n    return x / 2\n"
    wrong = "def half(x):\n    return 7\n"
    patched = f"import builtins\nbuiltins.abs = lambda x: 0\n{wrong}"
    shadowed = f"def abs(x):\n    return 0\n{wrong}"
    given = {"half": ["function", ""], "abs": ["function", ""]}
    calls = [
        ["half", "((3,), {})", "returned", "7"],
        ["abs", "((5.5,), {})", "returned", "0"],
    ]
    programs = [right, wrong, patched, shadowed, _forger(given, calls)]
    expected = [True] + [False] * (len(programs) - 1)
    assert passed([(program, tests) for program in programs]) == expected
    # So it would do if it knew the answer.
    calls = [["half", "((3,), {})", "returned", "1.5"]]
    assert passed([(_forger({"half": ["function", ""]}, calls), tests)]) == [True]


def test_a_record_that_is_too_short_does_not_end_a_loop_well(passed):
    forger = _forger({"add": ["function", ""]})
    tests = "assert all(map(lambda x: add(x, 0) == x, [1, 2]))\n"
    assert passed([(_RIGHT, tests), (forger, tests)]) == [True, False]


def test_what_tests_may_ask_for(passed):
    cases = {
        "def f():\n    raise KeyError('x')": "x = 0\n"
        "try:\n    f()\nexcept KeyError:\n    x = 1\nassert x",
        "import math\ndef f(x):\n    return x": "assert f(math.pi) == math.pi",
        "LIMIT = (1, {'a'})\ndef f():\n    return 1": "assert f() == LIMIT[0]",
        "def f(x):\n    return x * x": "import random\n"
        "x = random.random()\nassert f(x) == x * x",
        "def f(*, n):\n    return n": "assert [f(n=i) for i in range(2)] == [0, 1]",
        "def g(x):\n    return -x\ndef f(x):\n    return g(g(x))": "def check(given):\n"
        "    assert given(3) == 3 == -g(3)\ncheck(f)",
        "import random\nrandom.seed(7)\ndef f(x):\n    return x": "import random\n"
        "x = random.random()\nassert f(x) == x",
    }
    assert passed(list(cases.items())) == [True] * len(cases)


def test_what_cannot_be_told(passed):
    cases = [
        ("class P:\n    x = 1", "assert P().x == 1"),
        ("def f(x):\n    x.sort()", "x = [2, 1]\nf(x)\nassert x == [1, 2]"),
        ("def f():\n    return float('inf')", "assert f() > 9"),
        ("def f():\n    yield 1", "assert list(f()) == [1]"),
        ("def f():\n    return 'x' * 2**20", "assert f()[0] == 'x'"),  # line_bytes
        (f"{_RIGHT}# {'x' * 2**16}", _TESTS),  # script_bytes
    ]
    assert passed(cases) == [None] * len(cases)


@settings(max_examples=6, deadline=None)
@given(
    texts=st.lists(
        st.text()
        | st.lists(st.sampled_from(["def ", "f", "(", ")", ":\n", " ", "x\ud800"])).map(
            "".join
        ),
        min_size=2,
        max_size=2,
    )
)
def test_no_text_makes_it_raise(sandbox, texts):
    for answer in unit_tests.passed([tuple(texts)], sandbox=sandbox):
        assert answer in (True, False, None)


@pytest.mark.slow
def test_humaneval():
    path = pathlib.Path(os.environ.get("DATACHEF_DATA", "")) / "humaneval"
    if not (path / "HumanEval.jsonl.gz").is_file():
        pytest.skip("no humaneval/HumanEval.jsonl.gz: set DATACHEF_DATA to its folder")
    with gzip.open(path / "HumanEval.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 164
    right, cut = [], []
    for row in rows:
        tests = f"{row['test']}\ncheck({row['entry_point']})\n"
        solution = row["canonical_solution"].rstrip()
        right.append((row["prompt"] + solution, tests))
        cut.append((row["prompt"] + solution[: solution.rfind("\n") + 1], tests))
    limits = dataclasses.replace(_LIMITS, cpu_seconds=10.0)
    with small.started(limits=limits) as sandbox:
        assert unit_tests.passed(right, sandbox=sandbox) == [True] * 164
        assert unit_tests.passed(cut, sandbox=sandbox) == [False] * 164
