"""The cold start of a real Qwen3, the paper's settings: size 0.6b, 8b or 32b.

    python experiments/run.py --config=configs/cold_start_qwen3.py:32b \\
        --config.sft.files="('demonstrations.jsonl',)"

Wants the checkpoint that `configs/grpo_qwen3.py` names, and demonstrations: JSON lines,
each `{"dialogs": [{"role": "user", "content": <prompt>}, {"role": "assistant",
"content": <recipe>}]}`. Leaves `checkpoint/` in its workdir, the policy that GRPO
starts from: `--config.policy.checkpoint=runs/cold_start_qwen3-32b/checkpoint`.
`paper` means arXiv:2602.11089; what it leaves open is marked as ours.
"""

import ml_collections as mlc

from configs import grpo_qwen3


def get_config(size: str) -> mlc.ConfigDict:
    """Returns every setting of the run.

    Args:
      size: As for `grpo_qwen3`.
    """
    grpo = grpo_qwen3.get_config(size)
    config = mlc.ConfigDict()
    config.seed = grpo.seed
    config.experiment = "sft"
    config.mesh = grpo.mesh
    config.tokenizer = grpo.tokenizer
    config.policy = grpo.policy
    config.architecture = grpo.architecture
    config.sft = dict(
        files=("demonstrations.jsonl",),
        # The paper: 2 epochs over 5,000 demonstrations, 32 at a time.
        steps=312,
        batch_rows=32,
        row_tokens=16_384,  # ours: a prompt and a recipe of 8,192 tokens each
        row_targets=8_192,
        sync_every=1,
        stored_dtype="bfloat16",
    )
    config.optimizer = dict(
        learning_rate=2e-5,  # paper, section 4.1
        warmup_steps=10,  # ours, as are the next four
        b1=0.9,
        b2=0.95,
        weight_decay=0.0,
        max_grad_norm=1.0,
    )
    config.checkpoint = dict(every_steps=20, keep=3)
    return config
