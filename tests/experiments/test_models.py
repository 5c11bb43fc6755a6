"""Tests for experiments/models.py."""

import jax
import numpy as np
import pytest

from configs import quickstart
from experiments import checks
from experiments import models
from experiments import parts
from tests.experiments.conftest import ROOT


@pytest.fixture(scope="module")
def tokenizer():
    return parts.tokenizer(quickstart.get_config().tokenizer, ROOT)


def test_sections_of_one_model_share_its_weights_and_others_do_not(tokenizer):
    config = quickstart.get_config()
    policy, judge, generator = models.load_each(
        config, ("policy", "judge", "generator"), tokenizer, ROOT
    )
    assert generator is judge
    first, second = (jax.tree.leaves(m.params)[0] for m in (policy, judge))
    assert np.abs(first - second).max() > 0.0


def test_a_section_computes_as_the_policy_but_keeps_what_it_uses():
    config = quickstart.get_config()
    config.policy.update(dtype="bfloat16", remat="full")
    judge, base = (models.compute(config, name) for name in ("judge", "base"))
    assert (judge.dtype, judge.param_dtype, judge.remat) == (*["bfloat16"] * 2, "none")
    assert (base.dtype, base.param_dtype, base.remat) == ("bfloat16", "float32", "none")


def test_adapters_are_what_learns_where_there_are_any(tokenizer):
    config = quickstart.get_config()
    whole = models.load(config, "base", tokenizer, ROOT)
    learned, frozen = whole.learned_and_frozen()
    assert not frozen and len(jax.tree.leaves(learned)) > 5
    config.base.lora.update(rank=2, targets=("q_proj",))
    learned, frozen = models.load(config, "base", tokenizer, ROOT).learned_and_frozen()
    assert len(jax.tree.leaves(learned)) == 2 and jax.tree.leaves(frozen)


def test_a_size_that_is_not_published_is_refused(tokenizer):
    config = quickstart.get_config()
    config.policy.checkpoint = "random/7b"
    with pytest.raises(checks.UserError, match="config.policy.checkpoint='random/7b'"):
        models.load(config, "policy", tokenizer, ROOT)
