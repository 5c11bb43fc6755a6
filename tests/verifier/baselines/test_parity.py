"""Compares our rewards with those of transformers' Qwen3ForSequenceClassification."""

from flax import nnx
import numpy as np
import pytest

from datachef_jax.models.qwen3 import weights
from datachef_jax.verifier.baselines import embeddings
from datachef_jax.verifier.baselines import reward_model
from tests.models.qwen3 import tiny as tiny_qwen3
from tests.verifier.baselines.conftest import PAIRS

torch = pytest.importorskip("torch")  # requirements-parity.txt
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def reference(words, request):
    """Returns a random classifier with one label."""
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=words.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=request.param,
        num_labels=1,
        pad_token_id=words.pad_id,
    )
    made = transformers.Qwen3ForSequenceClassification(config).eval()
    for name, parameter in made.named_parameters():
        around = 1.0 if "norm" in name else 0.0
        parameter.data = around + 0.3 * torch.randn_like(parameter)
    return made


def _rewards(reference, words):
    """Returns what it says of the rows, padded to one length."""
    chats = [
        words.chat(
            [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
            generation_prompt=False,
        )
        for q, a in PAIRS
    ]
    width = max(map(len, chats))
    tokens = [chat + [words.pad_id] * (width - len(chat)) for chat in chats]
    real = [[1] * len(chat) + [0] * (width - len(chat)) for chat in chats]
    with torch.no_grad():
        told = reference(torch.tensor(tokens), attention_mask=torch.tensor(real))
    return told.logits.numpy()[:, 0]


def test_rewards_are_those_of_transformers(reference, words, tmp_path):
    reference.save_pretrained(tmp_path / "reward")
    model = weights.load(tmp_path / "reward", tiny_qwen3.COMPUTE)
    graphdef, params = nnx.split(model, nnx.Param)
    embedder = embeddings.Embedder(
        graphdef=graphdef,
        params=params,
        tokenizer=words,
        pooling="last",
        max_tokens=256,
        batch_tokens=512,
    )
    head = reward_model.load(tmp_path / "reward")
    rated = reward_model.RewardModel(embedder=embedder, head=head).rate(PAIRS)
    expected = _rewards(reference, words)
    assert expected.std() > 0.1
    np.testing.assert_allclose(rated.rewards, expected, atol=1e-4)
