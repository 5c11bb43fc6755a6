"""Tests for datachef_jax/verifier/baselines/reward_model.py."""

import json
import math

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from datachef_jax.verifier.baselines import reward_model
from tests.verifier.baselines.conftest import PAIRS

_WEIGHTS = np.linspace(-1.0, 1.0, 32).reshape(1, 32)
_OTHER = np.ones((2, 2), np.float32)


def _write(folder, tensors, name="model.safetensors"):
    safetensors.numpy.save_file(tensors, folder / name)


@pytest.mark.parametrize("rows", [40, 5])  # more and fewer than the weights
@pytest.mark.parametrize("penalty", [0.3, 50.0])
def test_the_fit_equals_the_closed_form(rows, penalty):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, 8)).astype(np.float32) + 2.0
    labels = rng.standard_normal(rows) - 5.0
    head = reward_model.fit(vectors, labels, penalty=penalty)
    x = np.hstack([vectors.astype(np.float64), np.ones((rows, 1))])
    free_bias = penalty * np.diag([1.0] * 8 + [0.0])
    solved = np.linalg.solve(x.T @ x + free_bias, x.T @ labels)
    np.testing.assert_allclose(head.weights, solved[:8], rtol=1e-4, atol=1e-6)
    assert head.bias == pytest.approx(solved[8], rel=1e-4)
    np.testing.assert_allclose(head(vectors), x @ solved, rtol=1e-4)


def test_a_heavy_penalty_leaves_the_mean_grade():
    vectors = np.random.default_rng(1).standard_normal((20, 4))
    labels = np.arange(20.0)
    head = reward_model.fit(vectors, labels, penalty=1e9)
    np.testing.assert_allclose(head(vectors), np.full(20, 9.5), atol=1e-5)


@pytest.mark.parametrize("labels", [np.array([1.0, math.nan]), np.zeros(0)])
def test_grades_that_are_missing_are_refused(labels):
    with pytest.raises(ValueError):
        reward_model.fit(np.zeros((len(labels), 3)), labels, penalty=1.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_head_in_a_single_file_is_read(tmp_path, dtype):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
    stored = _WEIGHTS.astype(kind)
    _write(tmp_path, {"score.weight": stored, "model.norm.weight": _OTHER})
    head = reward_model.load(tmp_path)
    assert head.weights.tolist() == stored[0].astype(np.float64).tolist()
    assert head.bias == 0.0


def test_a_head_in_one_of_several_files_is_found(tmp_path):
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    _write(tmp_path, {"model.norm.weight": _OTHER}, names[0])
    _write(tmp_path, {"score.weight": _WEIGHTS}, names[1])
    places = {"model.norm.weight": names[0], "score.weight": names[1]}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    np.testing.assert_array_equal(reward_model.load(tmp_path).weights, _WEIGHTS[0])


def test_a_folder_without_a_head_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no model.safetensors with score.weight"):
        reward_model.load(tmp_path)
    _write(tmp_path, {"lm_head.weight": _OTHER})
    with pytest.raises(ValueError, match="model.safetensors lacks score.weight"):
        reward_model.load(tmp_path)


def test_a_classifier_of_several_labels_is_refused(tmp_path):
    _write(tmp_path, {"score.weight": _OTHER})
    with pytest.raises(ValueError, match=r"has shape \(2, 2\), wanted is \(1, embed\)"):
        reward_model.load(tmp_path)


def test_a_dataset_is_worth_its_mean_reward(make_embedder):
    head = reward_model.Head(weights=_WEIGHTS[0], bias=0.25)
    measure = reward_model.RewardModel(embedder=make_embedder(max_tokens=50), head=head)
    embedded = make_embedder(max_tokens=50).embed(PAIRS)
    rewards = [
        sum(w * x for w, x in zip(_WEIGHTS[0], row)) + 0.25 for row in embedded.vectors
    ]
    rated = measure.rate(PAIRS)
    np.testing.assert_allclose(rated.rewards, rewards, rtol=1e-4)
    assert measure.measure(PAIRS) == pytest.approx(sum(rewards) / len(PAIRS), rel=1e-4)
    assert rated.cut == embedded.cut.sum() > 0
    assert math.isnan(measure.measure([]))


def test_a_head_on_another_pooling_is_refused(make_embedder):
    head = reward_model.Head(weights=_WEIGHTS[0], bias=0.0)
    with pytest.raises(ValueError, match="pooling must be 'last'.*got 'mean'"):
        reward_model.RewardModel(embedder=make_embedder(pooling="mean"), head=head)
