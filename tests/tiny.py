"""Small real parts: a tokenizer of bytes and a model of two random layers."""

from flax import nnx
import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import pre_tokenizers
import transformers

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import model as qwen3
from datachef_jax.models.qwen3 import weights
from datachef_jax.text import tokenizer

COMPUTE = qwen3_config.Compute(
    dtype="float32", param_dtype="float32", remat="none", shard_sequence=False, unroll=2
)


def byte_tokenizer() -> tokenizer.ChatTokenizer:
    """Returns a tokenizer whose tokens are the 256 bytes and ChatML's markers."""
    markers = [tokenizer.PAD, tokenizer.START, tokenizer.END]
    symbols = markers + sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: i for i, symbol in enumerate(symbols)}
    core = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(markers)
    return tokenizer.ChatTokenizer(
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=core, pad_token=tokenizer.PAD, eos_token=tokenizer.END
        )
    )


def random_model(vocab_size: int, *, seed: int = 0) -> qwen3.Qwen3:
    """Returns about 10,000 random weights in float32, the embedding tied."""
    config = qwen3_config.Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_embeddings=True,
        max_positions=512,
    )
    return weights.random(config, COMPUTE, seed=seed)


def model(seed: int) -> tuple[nnx.GraphDef, nnx.State]:
    """Returns `random_model` over 260 tokens as graphdef and parameters."""
    return nnx.split(random_model(260, seed=seed), nnx.Param)
