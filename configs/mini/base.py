"""The shipped mini base model, the target of fine-tuning, from random weights.

    python experiments/run.py --config=configs/mini/base.py

It sees questions and answers of the families that do not fit together, so it knows
how they look and not how they are solved; and numbers in order.
"""

import ml_collections as mlc


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the making."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "make_base"
    config.mesh = dict(data=1, model=1)
    config.pool = dict(kind="mini", seed=0, benchmark_size=200)
    config.tokenizer = "configs/mini/checkpoints/tokenizer"
    config.sizes = dict(
        hidden_size=96,
        intermediate_size=288,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=24,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        max_positions=2048,
    )
    config.optimizer = dict(
        learning_rate=3e-3,
        warmup_steps=100,
        b1=0.95,
        b2=0.99,
        weight_decay=0.01,
        max_grad_norm=1.0,
    )
    config.documents = 60_000
    config.stage = dict(steps=1400, rows=8, row_tokens=192, row_targets=191)
    return config
