"""Tests for datachef_jax/training/step.py."""

import dataclasses
import json

import numpy as np
import pytest

from datachef_jax import types
from datachef_jax.training import step
from tests import blank
from tests.training import scripted


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Returns the stages' arguments and results, and the record of one real step."""
    # Of what comes in parts, all of them.
    seen = {"execute": [], "verify": []}

    def watch(name, stage):
        def watched(*args):
            result = stage(*args)
            if name in ("execute", "verify"):
                seen[name] += zip(*args, result, strict=True)
            else:
                seen[name] = (args, result)
            return result

        return watched

    _, stages = scripted.parts()
    watched = dataclasses.replace(
        stages,
        **{
            field.name: watch(field.name, getattr(stages, field.name))
            for field in dataclasses.fields(step.Stages)
            if field.name != "conversation"
        },
    )
    asked = [blank.task("a"), blank.task("bb")]
    tmp_path = tmp_path_factory.mktemp("first")
    after, record = scripted.train_step(watched)(
        scripted.start(), lambda: asked, *scripted.quietly(tmp_path)
    )
    return seen, after, record


def _prompts(batch):
    """Returns the first two characters of every row."""
    return [scripted.TOKENIZER.decode(row[:2].tolist()) for row in batch.tokens]


def test_what_one_stage_returns_is_what_the_next_one_gets(first):
    seen, after, _ = first
    (_, _, prompts, *_), completions = seen["sample"]
    decode = scripted.TOKENIZER.decode
    assert [decode(prompt) for prompt in prompts] == ["a:", "bb:"]
    asked = ["a"] * 8 + ["bb"] * 8
    texts = [decode(completion.tokens) for completion in completions]
    assert len(set(texts)) == 16
    executed = sorted(seen["execute"], key=lambda one: texts.index(one[1]))
    assert [(one[0].name, one[1]) for one in executed] == [*zip(asked, texts)]
    executions = [id(one[3]) for one in executed]
    verified = {id(one[1]): one for one in seen["verify"]}
    assert [verified[one][0].name for one in executions] == asked
    verdicts = [verified[one][3] for one in executions]
    assert all(a is b for a, b in zip(seen["reward"][0][0], verdicts, strict=True))
    rewards, valid = seen["reward"][1]
    np.testing.assert_array_equal(seen["advantage"][0][0], rewards.reshape(2, 8))
    np.testing.assert_array_equal(seen["advantage"][0][1], valid.reshape(2, 8))
    batch = seen["update"][0][1]
    assert batch.ref_logprobs is seen["reference"][1].ref_logprobs
    np.testing.assert_array_equal(batch.advantages, seen["advantage"][1].reshape(-1))
    assert after.step == 1 and after is seen["update"][1][0]
    assert batch.tokens.shape == (16, scripted.BUCKET + scripted.NEW)


def test_each_completion_has_its_own_seed_and_each_group_those_of_its_recipes(first):
    seen, _, _ = first
    seeds = [seen["sample"][0][3], step.request_seeds(5, 1, 0, 16)]
    assert len(set(np.concatenate(seeds).tolist())) == 2 * 16
    of_group = {
        (stage, one[0].name): {other[2] for other in seen[stage] if other[0] is one[0]}
        for stage in ("execute", "verify")
        for one in seen[stage]
    }
    assert len(of_group) == 4
    assert all(len(group) == 1 for group in of_group.values())
    seeds += [list(group) for group in of_group.values()]
    assert len(set(np.concatenate(seeds).tolist())) == 2 * 16 + 4
    np.testing.assert_array_equal(seeds[0], step.request_seeds(5, 0, 0, 16))
    np.testing.assert_array_equal(seeds[0][:3], step.request_seeds(5, 0, 0, 3))


def test_there_is_a_rollout_for_each_completion(first):
    seen, _, record = first
    assert len(record.rollouts) == 16
    for i, rollout in enumerate(record.rollouts):
        assert rollout.task == ("a" if i < 8 else "bb")
        assert rollout.prompt == rollout.task + ":"
        tokens = seen["sample"][1][i].tokens
        assert rollout.completion == scripted.TOKENIZER.decode(tokens)
        valid = seen["reward"][1][1][i]
        assert rollout.reward == (seen["reward"][1][0][i] if valid else None)
        assert rollout.advantage == seen["advantage"][1].reshape(-1)[i]
    # The trainer scores the sampled tokens as the sampler did.
    assert record.metrics["policy/mismatch"] < 1e-4
    assert set(record.seconds) == {
        "sample", "execute", "verify", "reference", "update"
    }  # fmt: skip
    json.dumps(record.metrics, allow_nan=False)


def test_it_learns(tmp_path):
    stages = scripted.parts()[1]
    advance, state = scripted.train_step(stages), scripted.start()
    asked = [blank.task("a"), blank.task("b")]
    means = []
    for _ in range(30):
        state, record = advance(state, lambda: asked, *scripted.quietly(tmp_path))
        means.append(record.metrics["reward/mean"])
    assert np.mean(means[-4:]) > np.mean(means[:4]) + 0.2


def test_a_step_without_any_reward_leaves_the_weights_alone(tmp_path):
    lost = lambda asked, executions, seeds: [
        types.Verdict(outcome="unscored") for _ in asked
    ]
    stages = dataclasses.replace(scripted.parts()[1], verify=lost)
    asked = [blank.task("a"), blank.task("b")]
    after, record = scripted.train_step(stages)(
        scripted.start(), lambda: asked, *scripted.quietly(tmp_path)
    )
    np.testing.assert_array_equal(
        after.params["embedding"][...], scripted.start().params["embedding"][...]
    )
    assert record.metrics["reward/unscored"] == 1.0
    assert "reward/mean" not in record.metrics
    assert all(rollout.reward is None for rollout in record.rollouts)


def test_groups_of_equal_rewards_are_sampled_anew_until_enough_differ(tmp_path):
    equal = {"a", "c", "d"}

    def reward(verdicts, completions, executions):
        names = [name for name in rounds[-1] for _ in range(scripted.GROUP)]
        rewards = np.float32(
            [0.5 if name in equal else i % 3 for i, name in enumerate(names)]
        )
        return rewards, np.ones(len(names), bool)

    seen = {}
    given = iter([["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]])
    rounds = []

    def more_tasks():
        rounds.append(next(given))
        return [blank.task(name) for name in rounds[-1]]

    stages = scripted.parts()[1]

    def update(state, batch):
        seen["batch"] = batch
        return stages.update(state, batch)

    watched = dataclasses.replace(stages, reward=reward, update=update)
    run = scripted.train_step(watched)
    quiet = scripted.quietly(tmp_path)
    _, record = run(scripted.start(), more_tasks, *quiet, max_rounds=9)
    assert rounds == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert [r.task for r in record.rollouts[:: scripted.GROUP]] == list("abcdef")
    learned = {r.task for r in record.rollouts if r.advantage}
    assert learned == {"b", "e"}
    prompts = _prompts(seen["batch"])
    assert prompts == ["b:"] * scripted.GROUP + ["e:"] * scripted.GROUP
    assert record.metrics["reward/useful"] == 0.5
    texts = [r.completion for r in record.rollouts]
    assert texts[:16] != texts[16:32]  # another round has other seeds

    rounds.clear()
    given = iter([["a", "b"], ["c", "d"]])
    quiet = scripted.quietly(tmp_path)
    _, record = run(scripted.start(), more_tasks, *quiet, max_rounds=2)
    prompts = _prompts(seen["batch"])
    assert prompts == ["b:"] * scripted.GROUP + ["a:"] * scripted.GROUP
