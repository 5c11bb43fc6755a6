"""Tests for experiments/bench_workloads.py."""

import json

import numpy as np
import pytest

from experiments import bench_workloads as workloads

_GREEDY = workloads.Greedy(prompts=1, tokens=3)
_LINES = [
    {
        "question": f"How much is {i} + {i}?",
        "answer": f"{i}+{i}=<<{i}+{i}={2 * i}>>\n#### {2 * i}",
    }
    for i in range(40)
]


def test_lengths_by_hand():
    # mu = ln 128 - 1/2, so 0 gives 128 / sqrt(e) = 77.6, 1/2 the mean, 1 gives
    # 128 sqrt(e) = 211.0; 3 gives 1559, which is cut; -6 gives 0.2: no row is empty.
    normal = np.array([0.0, 0.5, 1.0, 3.0, -6.0])
    found = workloads.lengths(normal, mean=128.0, sigma=1.0, cap=768)
    assert found.tolist() == [78, 128, 211, 768, 1]


def test_lengths_have_the_mean_and_the_cap():
    normal = np.random.default_rng(0).standard_normal(100_000)
    uncut = workloads.lengths(normal, mean=128.0, sigma=1.0, cap=10**6)
    assert uncut.mean() == pytest.approx(128.0, rel=0.02)
    cut = workloads.lengths(normal, mean=128.0, sigma=1.0, cap=768)
    assert cut.max() == 768 and cut.min() >= 1
    # z > 2.29 is cut: 1.1 percent of the rows.
    assert np.mean(cut == 768) == pytest.approx(0.011, abs=0.001)


def test_equal_rows_share_the_prompts_of_their_groups():
    sizes = workloads.Equal(prompts=3, group=2, prompt_tokens=5, new_tokens=7)
    found = workloads.equal(sizes, _GREEDY, vocab_size=12, seed=4)
    assert found["new_tokens"] == [7] * 6
    assert found["prompts"][::2] == found["prompts"][1::2]
    assert len({tuple(prompt) for prompt in found["prompts"]}) == 3
    ids = {i for prompt in found["prompts"] for i in prompt}
    # Neither padding, by which a peer knows what to skip, nor the end.
    assert min(ids) >= 2 and max(ids) <= 11
    assert found["greedy_prompts"] == found["prompts"][:1]
    assert found["candidates"] == []


def test_a_workload_follows_from_its_seed(tmp_path):
    sizes = workloads.Rl(
        prompts=4, group=2, prompt_tokens=5, cap=60, mean_tokens=10, sigma=1.0
    )
    made = [workloads.rl(sizes, _GREEDY, vocab_size=99, seed=s) for s in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert len(set(made[0]["new_tokens"])) > 4
    workloads.write(tmp_path / "rl.json", made[0])
    assert json.loads((tmp_path / "rl.json").read_text()) == made[0]


def test_judged_rows_stand_unedited_after_one_rubric():
    sizes = workloads.Judge(rows=10, rubric_tokens=700)
    found = workloads.judge(sizes, _LINES, vocab_size=400)
    prompts = found["prompts"]
    assert len(prompts) == 10
    assert len({tuple(prompt[:700]) for prompt in prompts}) == 1
    assert max(max(prompt) for prompt in prompts) < 400
    assert len(set(found["candidates"])) == 5 and max(found["candidates"]) < 400
    texts = [f"{line['question']}\n{line['answer']}" for line in _LINES]
    tokenizer = workloads.train([workloads.RUBRIC, *texts], vocab_size=400)
    # The vocabulary writes each byte as a letter of its own.
    letters = "".join(tokenizer.id_to_token(i) for i in prompts[3][700:])
    assert letters.replace("Ġ", " ").replace("Ċ", "\n") == texts[3]


def test_a_row_that_no_model_can_read_is_refused():
    sizes = workloads.Equal(prompts=1, group=1, prompt_tokens=5, new_tokens=7)
    found = workloads.equal(sizes, _GREEDY, vocab_size=12, seed=4)
    workloads.check(found, max_positions=12)
    with pytest.raises(ValueError, match="12 tokens are above max_positions=11"):
        workloads.check(found, max_positions=11)


def test_gsm8k_must_be_there_and_have_the_rows(tmp_path):
    with pytest.raises(ValueError, match="train.jsonl is not there"):
        workloads.read_gsm8k(tmp_path, rows=1)
    (tmp_path / "gsm8k").mkdir()
    text = "".join(json.dumps(line) + "\n" for line in _LINES)
    (tmp_path / "gsm8k" / "train.jsonl").write_text(text)
    assert workloads.read_gsm8k(tmp_path, rows=40) == _LINES
    with pytest.raises(ValueError, match="has 40 rows, 41 are wanted"):
        workloads.read_gsm8k(tmp_path, rows=41)
