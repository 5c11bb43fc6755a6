"""The published sizes of Qwen3 (arXiv:2505.09388, table 1), for models without files.

What a checkpoint's own `config.json` says comes first wherever there is one.
"""

from datachef_jax.models.qwen3.config import Qwen3Config


def _size(
    hidden: int, intermediate: int, layers: int, heads: int, *, tied: bool
) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=151_936,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=8,
        head_dim=128,
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_embeddings=tied,
        max_positions=40_960,
    )


QWEN3 = {
    "0.6b": _size(1024, 3072, 28, 16, tied=True),
    "1.7b": _size(2048, 6144, 28, 16, tied=True),
    "4b": _size(2560, 9728, 36, 32, tied=True),
    "8b": _size(4096, 12288, 36, 32, tied=False),
    "14b": _size(5120, 17408, 40, 40, tied=False),
    "32b": _size(5120, 25600, 64, 64, tied=False),
}
