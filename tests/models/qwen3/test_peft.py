"""Our adapters in PEFT, and PEFT's in our model (requirements-parity.txt)."""

import numpy as np
import pytest

from datachef_jax.models.qwen3 import lora
from datachef_jax.models.qwen3 import weights
from tests.models.qwen3 import test_lora
from tests.models.qwen3 import tiny

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

_TOKENS = np.arange(20).reshape(2, 10)


@pytest.fixture
def base(tmp_path):
    """Returns the folder of a model without adapters."""
    weights.save(tiny.make(), tmp_path / "base", stored_dtype="float32")
    return tmp_path / "base"


def _logits(model) -> np.ndarray:
    with torch.no_grad():
        return model(torch.asarray(_TOKENS)).logits.numpy()


def test_peft_computes_what_our_adapters_do(base, tmp_path):
    model = test_lora.adapted()
    lora.save(model, tmp_path / "adapters", base=str(base))
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapters")
    expected = tiny.logits(model, _TOKENS)
    np.testing.assert_allclose(_logits(theirs), expected, atol=1e-4)


def test_we_compute_what_adapters_of_peft_do(base, tmp_path):
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["k_proj", "o_proj", "gate_proj"],
        init_lora_weights=False,  # random, not the zeros that change nothing
        task_type="CAUSAL_LM",
    )
    theirs = peft.get_peft_model(plain, config)
    theirs.save_pretrained(tmp_path / "adapters")
    model = lora.load(weights.load(base, tiny.COMPUTE), tmp_path / "adapters")
    got = tiny.logits(model, _TOKENS)
    assert np.abs(got - tiny.logits(tiny.make(), _TOKENS)).max() > 0.01
    np.testing.assert_allclose(got, _logits(theirs), atol=1e-4)
