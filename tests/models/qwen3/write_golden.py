"""Writes golden/: a tiny random Qwen3 and its logits, by torch and transformers.

    python tests/models/qwen3/write_golden.py

Needs requirements-parity.txt. The default test suite compares our model with these
files, so that parity is checked where torch is not installed; `test_parity.py`
compares with transformers itself.
"""

import json
import pathlib

import numpy as np
import torch
import transformers

FOLDER = pathlib.Path(__file__).parent / "golden"
LENGTHS = (12, 7, 1)


def model(
    *, tied: bool, seed: int, family: str = "Qwen3", **changes
) -> transformers.PreTrainedModel:
    """Returns a random float32 model in which no weight has a special value."""
    torch.manual_seed(seed)
    numbers = dict(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    config = getattr(transformers, f"{family}Config")(**numbers | changes)
    made = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for name, parameter in made.named_parameters():
        around = 1.0 if "norm" in name else 0.0  # not all ones, as at the start
        parameter.data = around + 0.3 * torch.randn_like(parameter)
    return made


@torch.no_grad()
def logits(made: transformers.PreTrainedModel, tokens: np.ndarray) -> np.ndarray:
    """Returns the logits of right-padded rows of the lengths above."""
    lengths = torch.tensor(LENGTHS)[:, None]
    mask = (torch.arange(tokens.shape[1])[None] < lengths).long()
    return made(torch.tensor(tokens), attention_mask=mask).logits.numpy()


def main():
    made = model(tied=False, seed=0)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 64, (len(LENGTHS), max(LENGTHS)))
    made.save_pretrained(FOLDER)
    (FOLDER / "generation_config.json").unlink(missing_ok=True)
    np.savez(
        FOLDER / "logits.npz",
        tokens=tokens.astype(np.int32),
        lengths=np.array(LENGTHS, np.int32),
        logits=logits(made, tokens),
    )
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    (FOLDER / "versions.json").write_text(json.dumps(versions) + "\n")


if __name__ == "__main__":
    main()
