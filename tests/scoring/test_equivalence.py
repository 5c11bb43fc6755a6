"""Tests for datachef_jax/scoring/equivalence.py."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import psutil
import pytest

from datachef_jax.scoring import equivalence

# Longer than any comparison below takes on a busy machine, but for the endless ones.
_SECONDS = 3.0
_ENDLESS = [("9^{9^{9^9}}", "x+1"), ("x+1", r"\sum_{n=1}^{10^{10}} \frac{1}{n^2}")]
_GOOD = [
    ("(x-1)(x+1)", "x^2-1", True),
    (r"2\sqrt{2}", r"\sqrt{8}", True),
    (r"\{2, 1\}", r"\{1, 2\}", True),
    ("[0,1]", "[0,1)", False),
]


@pytest.fixture(scope="module")
def compare():
    with equivalence.Equivalence(workers=2, seconds=_SECONDS) as running:
        yield running


def test_what_math_verify_finds(compare):
    cases = [
        *_GOOD,
        ("0.5", r"\frac{1}{2}", True),
        (r"\dfrac12", "0.5", True),
        (r"$\frac{1}{2}$", r"\frac{2}{4}", True),
        (r"3 \cdot 10^{2}", "300", True),
        ("[0,1)", r"\left[0,1\right)", True),
        (r"(-\infty, 2]", r"(-\infty,2]", True),
        ("(1,2)", "(2,1)", False),
        ("2x+1=y", "y=2x+1", True),
        ("3", "x=3", True),
        ("1<x<2", "(1,2)", False),  # not symmetric: the reference is a set
        ("(1,2)", "1<x<2", True),
        ("x+1", "y+1", False),
        (
            r"\begin{pmatrix}1\\2\end{pmatrix}",
            r"\begin{bmatrix}1\\2\end{bmatrix}",
            True,
        ),
    ]
    found = compare.equal([case[:2] for case in cases])
    assert found == [case[2] for case in cases]


def test_what_cannot_be_told(compare):
    pairs = [
        (r"\frac{", "1+x"),
        ("{", "1+x"),
        ("", "1+x"),
        ("silent", "listen"),
        ("yes", "no"),
        ("x" * 1001, "1+x"),
        ("\ud800", "1+x"),
        ("1+x", "\0"),
    ]
    assert compare.equal(pairs) == [None] * len(pairs)


def test_numbers_and_equal_texts_need_no_process():
    with equivalence.Equivalence(workers=1, seconds=_SECONDS) as idle:
        before = psutil.Process().children(recursive=True)
        found = idle.equal([("1,000", "1e3"), ("1/3", "0.333333"), ("Yes ", "yes")])
        assert found == [True, False, True]
        assert idle.equal([]) == []
        assert psutil.Process().children(recursive=True) == before


def test_endless_ones_do_not_hold_up_the_others(compare):
    good, expected = [case[:2] for case in _GOOD], [case[2] for case in _GOOD]
    start = time.monotonic()
    found = compare.equal([_ENDLESS[0], *good, _ENDLESS[1], *good])
    assert found == [None, *expected, None, *expected]
    assert time.monotonic() - start < 4 * _SECONDS
    assert compare.equal(good) == expected


def test_many_threads_may_ask(compare):
    pairs = [(f"{n}x+1", f"1+{n + n % 2}x") for n in range(2, 14)]
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda pair: compare.equal([pair]), pairs))
    assert found == [[n % 2 == 0] for n in range(2, 14)]


def test_a_killed_process_is_replaced():
    with equivalence.Equivalence(workers=1, seconds=60.0) as one:
        assert one.equal([_GOOD[0][:2]]) == [True]
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(one.equal, [_ENDLESS[0], _GOOD[0][:2]])
            time.sleep(1.0)
            for worker in _workers():
                os.kill(worker.pid, signal.SIGKILL)
            assert waiting.result(timeout=30) == [None, True]
        for worker in _workers():  # while it has nothing to do
            os.kill(worker.pid, signal.SIGKILL)
        time.sleep(1.0)
        assert one.equal([_GOOD[0][:2]]) == [True]


def test_the_end_ends_the_processes(compare):
    before = {worker.pid for worker in _workers()}
    with equivalence.Equivalence(workers=1, seconds=_SECONDS) as one:
        one.equal([_GOOD[0][:2]])
        mine = {worker.pid for worker in _workers()} - before
        assert len(mine) == 1
    assert mine.isdisjoint(worker.pid for worker in _workers())


def _workers():
    """Returns the processes that compare: children of the server, but for itself."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.ppid() != os.getpid()]


def test_a_process_may_not_have_all_memory():
    script = (
        "from datachef_jax.scoring import equivalence\n"
        "equivalence._prepare()\n"
        "bytearray(2**28)\n"
        "try:\n"
        "    bytearray(2**31)\n"
        "except MemoryError:\n"
        "    print('bounded')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "bounded\n"


_PIECES = [
    *("x", "2", "^", "_", "{", "}", "(", ")", "=", "<", ",", "+", "/", "\\", "$", "&"),
    *(r"\frac", r"\sqrt", r"\text", r"\{", r"\boxed{", "!", "%", "i", "\n", "\u0662"),
]


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from(_PIECES), max_size=8).map("".join), max_size=4
    )
)
def test_no_text_makes_it_raise(compare, texts):
    pairs = list(zip(texts, texts[::-1], strict=True))
    assert all(found in (True, False, None) for found in compare.equal(pairs))


@pytest.mark.parametrize("fields", [dict(workers=0), dict(seconds=0.0)])
def test_wrong_settings_are_named(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        equivalence.Equivalence(**(dict(workers=1, seconds=1.0) | fields))
