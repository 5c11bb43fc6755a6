"""The paper's Table 5: which figure of a dataset foretells what it teaches a model?

    python experiments/run.py --config=configs/paper/table5.py:32b

The programme of `configs/mini/correlate.py` with the models and the fine-tunes of
`configs/grpo_qwen3.py`, and what that wants in `checkpoints/`; beside it
`Skywork-Reward-V2-Qwen3-1.7B`, the reward model (ours; the paper does not name its).
The tasks are those on real files that come with the project's pool, AQuA and GSM8K
(`DATACHEF_DATA`), where the paper has its six held-out ones. The paper's judge reasons
before it grades; so does this one, and its held-out judge does not.

Hardware: that of `configs/grpo_qwen3.py`; never run, for lack of one.
"""

import ml_collections as mlc

from configs import grpo_qwen3
from configs.mini import correlate


def get_config(size: str) -> mlc.ConfigDict:
    """Returns every setting of the run; sizes are those of `grpo_qwen3`."""
    config = grpo_qwen3.get_config(size)
    mini = correlate.get_config()
    config.experiment = "correlate"
    config.verifier.update(correctness="arithmetic", held_out_every=1)
    config.judge.mode = "reasoning"
    config.judge.reasoning.update(max_new_tokens=2048, rows=64)
    config.held_out_judge = config.judge.to_dict() | dict(mode="criteria")
    config.base.max_prompt_tokens = 2048
    config.serving.priorities = mini.serving.priorities
    config.correlate = mini.correlate
    config.correlate.update(
        tasks=("aqua", "gsm8k"),
        questions="benchmark",
        samples=(100, 1000, 5000),
        fit="in_one_program",
        width=8,
    )
    config.baselines = mini.baselines
    config.baselines.update(
        max_tokens=2048, batch_tokens=65_536, rater_prompt_tokens=4096
    )
    config.reward_model = mini.reward_model
    config.reward_model.checkpoint = "checkpoints/Skywork-Reward-V2-Qwen3-1.7B"
    return config
