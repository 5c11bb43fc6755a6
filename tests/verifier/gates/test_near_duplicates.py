"""Tests for datachef_jax/verifier/gates/near_duplicates.py."""

import os
import pathlib
import random
import subprocess
import sys
import time

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from datachef_jax.tasks.mini import families
from datachef_jax.verifier.gates import contamination
from datachef_jax.verifier.gates import near_duplicates

_ROOT = pathlib.Path(__file__).resolve().parents[3]


def _repeats(*texts, threshold=0.7):
    sketched = near_duplicates.sketches(texts)
    return near_duplicates.near_duplicates(sketched, threshold=threshold).tolist()


def _words(count, seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefgh", k=6)) for _ in range(count)]


def test_a_text_with_a_word_changed_repeats_and_the_first_is_kept():
    words = _words(60)
    changed = " ".join([*words[:30], "other", *words[31:]])
    other = " ".join(_words(60, seed=1))
    assert _repeats(" ".join(words), other, changed) == [False, False, True]
    assert _repeats(changed, " ".join(words), other) == [False, True, False]


def test_the_threshold_is_a_jaccard_similarity_of_runs_of_five():
    # 44 words have 40 runs; with the last 6 changed both have 34 of 46: 0.739.
    words = _words(44)
    pair = " ".join(words), " ".join([*words[:38], *"uvwxyz"])
    assert _repeats(*pair, threshold=34 / 46) == [False, True]
    assert _repeats(*pair, threshold=34 / 46 + 0.001) == [False, False]


def test_with_other_numbers_it_is_another_text():
    text = f"{' '.join(_words(50))} 17 and 3, {' '.join(_words(50, seed=1))}"
    assert _repeats(text, text.replace("and", "or")) == [False, True]
    for other in (
        text.replace("17", "18"),
        text.replace("17 and 3", "3 and 17"),
        f"{text} 5",
    ):
        assert _repeats(text, other) == [False, False]


def test_short_texts_repeat_only_their_equals():
    nineteen = " ".join(_words(19))
    near = nineteen.rpartition(" ")[0] + " other"
    assert _repeats(nineteen, near, nineteen.upper()) == [False, False, True]
    assert _repeats("a b", "a c", "A  B", "", "") == [False, False, True, False, True]
    twenty = " ".join(_words(20))
    near = twenty.rpartition(" ")[0] + " other"
    assert _repeats(twenty, near) == [False, True]


def test_runs_do_not_reach_into_the_next_text():
    own = _words(20)
    texts = [" ".join(own), " ".join(_words(20, seed=1)), "short", " ".join(own[::-1])]
    tokens = [contamination.normalise(text) for text in texts]
    runs, starts = near_duplicates._runs(tokens)
    assert starts.tolist() == [0, 16, 32, 32, 48]
    alone = [near_duplicates._runs([each])[0].tolist() for each in tokens]
    assert runs.tolist() == [run for each in alone for run in each]
    assert len(set(runs.tolist())) == 48


def test_it_agrees_with_comparing_all_pairs():
    rng = random.Random(3)
    texts = []
    for i in range(250):
        words = _words(rng.randrange(40, 160), seed=i)
        texts.append(" ".join(words))
        for _ in range(rng.randrange(3)):
            changed = list(words)
            for _ in range(rng.randrange(1, 6)):
                changed[rng.randrange(len(words))] = "other"
            texts.append(" ".join(changed))
    rng.shuffle(texts)

    expected, kept = [], []
    for text in texts:
        words = text.split()
        own = {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
        near = any(len(own & other) / len(own | other) >= 0.7 for other in kept)
        expected.append(near)
        if not near:
            kept.append(own)
    found = np.array(_repeats(*texts))
    expected = np.array(expected)
    assert 100 < expected.sum() < 300
    # A missed repeat is kept, and what repeats it is found in its stead.
    assert found[expected].mean() >= 0.98
    assert found[~expected].mean() <= 0.02


@pytest.mark.parametrize("name", families.FAMILIES)
def test_rows_of_a_mini_task_are_no_near_duplicates(name):
    examples = families.generate(families.FAMILIES[name], "normal", 400, seed=1)
    texts = [f"{e.question}\n{e.answer}" for e in examples]
    assert len(texts) > 200 and not any(_repeats(*texts, threshold=0.8))
    again = _repeats(*texts * 2, threshold=0.8)
    assert again == [False] * len(texts) + [True] * len(texts)


def test_rows_that_share_a_long_beginning_take_no_longer():
    def seconds(shared):
        texts = [f"{shared} {' '.join(_words(40, seed=i))}" for i in range(1500)]
        start = time.process_time()
        assert not any(_repeats(*texts, threshold=0.8))
        return time.process_time() - start

    alone = seconds(" ".join(_words(60, seed=-1)[:1]))
    assert seconds(" ".join(_words(60, seed=-1))) < 10 * alone  # all pairs: hundreds


def test_another_process_hashes_alike():
    code = (
        "from datachef_jax.verifier.gates import contamination, near_duplicates as n;"
        "runs, starts = n._runs([contamination.normalise('a b c d e ' * 5)]);"
        "print(runs.sum(), n._signatures(runs, starts).sum())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    runs, starts = near_duplicates._runs([contamination.normalise("a b c d e " * 5)])
    signatures = near_duplicates._signatures(runs, starts)
    assert done.stdout.split() == [str(runs.sum()), str(signatures.sum())]


@hypothesis.given(st.lists(st.text(st.characters(), max_size=80), max_size=6))
def test_any_texts_are_taken(texts):
    repeated = _repeats(*texts)
    assert len(repeated) == len(texts) and not any(repeated[:1])
    assert all(_repeats(*texts, *texts)[len(texts) :])
