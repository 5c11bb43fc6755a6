"""The configs of real Qwen3 runs with their sizes cut, for tests.

The argument is `<sft or grpo>,<folder>`: what the configs look for in `checkpoints/` is
in the folder, as tiny models in the same format.
"""

import ml_collections as mlc

from configs import cold_start_qwen3
from configs import grpo_qwen3
from configs import tiny


def get_config(what: str) -> mlc.ConfigDict:
    """Returns every setting of the run."""
    name, folder = what.split(",")
    if name == "sft":
        config = cold_start_qwen3.get_config("0.6b")
        config.policy.checkpoint = f"{folder}/policy"
        config.sft.update(
            files=(f"{folder}/demonstrations.jsonl",),
            steps=4,
            batch_rows=2,
            row_tokens=512,
            row_targets=256,
        )
        config.optimizer.update(warmup_steps=1)
        config.checkpoint.update(every_steps=2)
    else:
        config = grpo_qwen3.get_config("0.6b")
        small = tiny.get_config()
        config.policy.checkpoint = f"{folder}/sft/checkpoint"
        config.pool = small.pool
        for section, model in (
            ("judge", "judge"),
            ("generator", "judge"),
            ("base", "base"),
        ):
            config[section].checkpoint = f"{folder}/{model}"
            config[section].max_prompt_tokens = 4096
        config.generator.rows = config.base.rows = 8
        config.generator.max_new_tokens = 4
        config.base.max_new_tokens = 4
        config.judge.min_mass = 0.0
        config.prompt.toolkit = False  # its tokens are letters here, thousands of them
        config.sampling.update(max_prompt_tokens=8000, max_new_tokens=8, rows=4)
        config.rl.update(steps=1, prompts_per_step=1, group_size=4, micro_batch=4)
        config.finetune.update(
            steps=2, batch_rows=2, row_tokens=256, targets_per_row=128, warmup_steps=1
        )
        config.sandbox.update(row_cap=20, workers=2)
        config.verifier.update(rows_per_dataset=4)
        config.evaluation.update(tasks=("simple_equations",), recipes=2, oracle=1)
    config.tokenizer = f"{folder}/policy"
    config.policy.lora.update(rank=2 if name == "grpo" else 0)
    return config
