"""Tests for datachef_jax/models/qwen3/config.py."""

import dataclasses
import json
import math

import pytest

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import rope
from datachef_jax.models.qwen3.config import Qwen3Config
from tests.models.qwen3 import tiny

# As in Qwen/Qwen3-0.6B and Qwen/Qwen3-32B, written by transformers 4.51.
_SMALL = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
_LARGE = _SMALL | {
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "max_window_layers": 64,
    "num_attention_heads": 64,
    "num_hidden_layers": 64,
    "tie_word_embeddings": False,
}


def _folder(tmp_path, fields):
    (tmp_path / "config.json").write_text(json.dumps(fields))
    return tmp_path


def test_reads_the_smallest_and_the_largest_dense_qwen3(tmp_path):
    small = Qwen3Config(
        vocab_size=151936,
        hidden_size=1024,
        intermediate_size=3072,
        num_layers=28,
        num_heads=16,
        num_kv_heads=8,
        head_dim=128,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_embeddings=True,
        max_positions=40960,
    )
    assert qwen3_config.from_folder(_folder(tmp_path, _SMALL)) == small
    large = dataclasses.replace(
        small,
        hidden_size=5120,
        intermediate_size=25600,
        num_heads=64,
        num_layers=64,
        tie_embeddings=False,
    )
    assert qwen3_config.from_folder(_folder(tmp_path, _LARGE)) == large


def test_reads_the_rope_parameters_of_transformers_5(tmp_path):
    older = ("rope_theta", "rope_scaling")
    fields = {k: v for k, v in _SMALL.items() if k not in older}
    fields["rope_parameters"] = {"rope_theta": 5e6, "rope_type": "default"}
    assert qwen3_config.from_folder(_folder(tmp_path, fields)).rope_theta == 5e6


_YARN = rope.Yarn(
    factor=4.0,
    original_positions=32768,
    beta_fast=32.0,
    beta_slow=1.0,
    attention_factor=0.1 * math.log(4.0) + 1,
)
_LLAMA3 = rope.Llama3(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_positions=8192
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_embeddings": False},
        {"rope_scaling": _YARN},
        {"rope_scaling": _LLAMA3, "qk_norm": False},
        {"sliding_window": 7, "sliding_layers": (1,)},
    ],
)
def test_reads_back_what_it_writes(tmp_path, changes):
    config = dataclasses.replace(tiny.CONFIG, **changes)
    folder = _folder(tmp_path, qwen3_config.to_hf(config))
    assert qwen3_config.from_folder(folder) == config


def test_reads_yarn_as_qwen_says_to_write_it(tmp_path):
    scaling = {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
    }
    folder = _folder(tmp_path, _SMALL | {"rope_scaling": scaling})
    config = qwen3_config.from_folder(folder)
    assert config.rope_scaling == _YARN and config.rope_theta == 1e6


def test_reads_llama_with_what_its_class_takes_for_granted(tmp_path):
    # As in meta-llama/Llama-3.1-8B, without what is left out of older files.
    fields = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "vocab_size": 128256,
    }
    config = qwen3_config.from_folder(_folder(tmp_path, fields))
    assert config.head_dim == 128 and not config.qk_norm and not config.tie_embeddings
    assert config.rope_scaling == _LLAMA3 and config.rope_theta == 5e5


def test_the_upper_layers_have_the_sliding_window(tmp_path):
    window = {
        "use_sliding_window": True,
        "sliding_window": 512,
        "max_window_layers": 26,
    }
    config = qwen3_config.from_folder(_folder(tmp_path, _SMALL | window))
    assert [config.window(i) for i in (0, 25, 26, 27)] == [None, None, 512, 512]
    unused = window | {"use_sliding_window": False}
    config = qwen3_config.from_folder(_folder(tmp_path, _SMALL | unused))
    assert config.sliding_window is None and config.sliding_layers == ()


@pytest.mark.parametrize(
    "field,value,named",
    [
        ("model_type", "qwen3_moe", "'qwen3_moe'"),
        ("hidden_act", "gelu", "'gelu'"),
        ("attention_bias", True, "True"),
        ("attention_dropout", 0.1, "0.1"),
        ("rope_scaling", {"rope_type": "dynamic", "factor": 4.0}, "'dynamic'"),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}, "original_max"),
        ("rope_parameters", {"rope_theta": 1e6, "mscale": 2.0}, "mscale.*2.0"),
        ("layer_types", ["sliding_attention"] * 28, "sliding_window=None"),
        ("layer_types", ["full_attention"], "1 layers"),
        ("layer_types", ["linear_attention"] * 28, "linear_attention"),
        ("quantization_config", {"bits": 4}, "bits.*4"),
    ],
)
def test_refuses_what_would_be_another_model_by_field_and_value(
    tmp_path, field, value, named
):
    with pytest.raises(ValueError, match=named) as caught:
        qwen3_config.from_folder(_folder(tmp_path, _SMALL | {field: value}))
    assert {"rope_scaling": "rope", "rope_parameters": "rope"}.get(field, field) in str(
        caught.value
    )


@pytest.mark.parametrize("field", ["head_dim", "rope_theta", "num_key_value_heads"])
def test_names_a_missing_field(tmp_path, field):
    fields = {k: v for k, v in _SMALL.items() if k != field}
    with pytest.raises(ValueError, match=field):
        qwen3_config.from_folder(_folder(tmp_path, fields))


def test_refuses_heads_that_cannot_be_grouped_or_rotated():
    with pytest.raises(ValueError, match="num_heads 4 .* 3"):
        dataclasses.replace(tiny.CONFIG, num_kv_heads=3)
    with pytest.raises(ValueError, match="even for RoPE, got 15"):
        dataclasses.replace(tiny.CONFIG, head_dim=15)
