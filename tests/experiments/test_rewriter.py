"""Tests for experiments/rewriter.py."""

import collections
import json
import os
import pathlib
import re

import pytest

from configs.bench import contamination as config_file
from experiments import rewriter
from tests.experiments.conftest import ROOT

_DATA = pathlib.Path(os.environ.get("DATACHEF_DATA", ROOT.parent / "shared" / "data"))
_QUESTION = (
    "Weng earns $12.50 an hour for babysitting. Yesterday, she and Mr. Ray did three "
    "hours at 5 p.m. on Monday! How much did Weng's friend, Ray, get?"
)
_SETTINGS = dict(seed=3, share=0.34)


@pytest.fixture(scope="module")
def questions():
    """Returns the questions of GSM8K's test split, or a few where they are missing."""
    path = _DATA / "gsm8k" / "test.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is missing; DATACHEF_DATA names the folder of real data")
    return [json.loads(line)["question"] for line in path.read_text().splitlines()]


def _lost(sentence, rewritten, names):
    """Returns how many words of a sentence, names apart, its rewriting lacks."""
    words = [w.lower() for w in rewriter._WORD.findall(sentence) if w not in names]
    after = collections.Counter(rewriter.words(rewritten))
    return (collections.Counter(words) - after).total()


def test_sentences_words_and_names():
    assert rewriter.sentences(_QUESTION) == [
        "Weng earns $12.50 an hour for babysitting.",
        "Yesterday, she and Mr. Ray did three hours at 5 p.m. on Monday!",
        "How much did Weng's friend, Ray, get?",
    ]
    assert rewriter.words("Ann's 3 cats don't wake at 5 p.m.") == (
        "ann s cats don't wake at".split()
    )
    assert rewriter.names(_QUESTION) == ["Weng", "Ray"]
    assert rewriter.names("In May, Each Dr. Who bought a Boeing") == ["Boeing"]


def test_names_change_throughout_and_numbers_stay():
    rewritten = rewriter.rewrite(_QUESTION, **_SETTINGS)
    assert not {"weng", "ray"} & set(rewriter.words(rewritten))
    assert {"$12.50", "three", "5"} <= set(rewritten.split())
    swapped = set(rewriter._NAMES) & set(rewriter._WORD.findall(rewritten))
    assert len(swapped) == 2  # both names, wherever they stand


def test_the_order_is_another_and_the_sentences_are_all_there():
    pairs = rewriter.reword(_QUESTION, **_SETTINGS)
    before = [sentence for sentence, _ in pairs]
    assert before != rewriter.sentences(_QUESTION)
    assert sorted(before) == sorted(rewriter.sentences(_QUESTION))


def test_the_seed_and_the_question_decide():
    first = rewriter.rewrite(_QUESTION, **_SETTINGS)
    assert first == rewriter.rewrite(_QUESTION, **_SETTINGS)
    assert first != rewriter.rewrite(_QUESTION, seed=4, share=0.34)


def test_a_synonym_is_never_a_number_nor_the_word_itself():
    assert all(rewriter._SYNONYMS.values())
    for word, others in rewriter._SYNONYMS.items():
        parts = {part for other in others for part in other.split("-")}
        assert word not in parts and word not in rewriter._NUMBER_WORDS
        assert not parts & (rewriter._NUMBER_WORDS - {"first"})
    for _, others in rewriter._CLASSES:
        assert len(set(others)) == len(others) >= 7


def test_the_larger_the_share_the_more_is_replaced():
    sentence = (
        "The teacher bought several boxes of new pencils because every child in her "
        "class needed more for the long test on the following day."
    )

    def lost(share):
        pairs = [rewriter.reword(sentence, seed=s, share=share)[0] for s in range(30)]
        return sum(_lost(*pair, names=()) for pair in pairs) / 30

    assert 2 <= lost(0.1) == 2 < lost(0.34) < lost(0.8)


def test_every_sentence_of_a_real_question_loses_two_words(questions):
    settings = config_file.get_config().rewriter
    for question in questions:
        names = set(rewriter.names(question))
        pairs = rewriter.reword(question, seed=settings.seed, share=settings.share)
        for sentence, rewritten in pairs:
            if len(rewriter.words(sentence)) >= 4:
                assert _lost(sentence, rewritten, names) >= 2, sentence
        rewritten = " ".join(after for _, after in pairs)
        digits = re.compile(r"\d+")
        assert sorted(digits.findall(rewritten)) == sorted(digits.findall(question))
        assert not names & set(rewriter._WORD.findall(rewritten))
