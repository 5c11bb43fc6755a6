"""The experiment of `configs/tiny.py` with random models, as small as it gets.

It is what tests of the front door run: its argument is a tokenizer folder, nothing
shipped is needed, and its figures mean nothing.
"""

import ml_collections as mlc

from configs import tiny


def get_config(tokenizer: str) -> mlc.ConfigDict:
    """Returns every setting of the run."""
    config = tiny.get_config()
    config.pool.update(smallest=1)
    config.mesh.update(data=-1)
    config.tokenizer = tokenizer
    config.architecture.update(
        hidden_size=16,
        intermediate_size=32,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
    )
    for part in (config.policy, config.judge, config.generator, config.base):
        part.checkpoint = "random"
    config.held_out_judge.checkpoint = ""
    config.judge.update(max_chars=200, min_mass=0.0, max_prompt_tokens=1024)
    config.generator.update(max_new_tokens=4, rows=16, max_prompt_tokens=256)
    config.base.update(rows=16, max_prompt_tokens=128, max_new_tokens=4)
    config.sampling.update(max_prompt_tokens=2048, max_new_tokens=4)
    config.sandbox.update(cpu_seconds=20.0, wall_seconds=120.0, processes=8)
    config.rl.update(group_size=2, micro_batch=4)
    config.finetune.update(batch_rows=16)
    config.evaluation.update(recipes=2, oracle=2)
    return config
