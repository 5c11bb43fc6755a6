"""The quickstart's programme on real files: GSM8K, held out, and eleven sources.

    DATACHEF_DATA=<folder> python experiments/run.py --config=configs/real_math.py

The files are taken as their authors published them. The mini policy was never shown
such prompts and does badly; the machinery is what is tried here.
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns the quickstart with another pool and room for longer texts."""
    config = quickstart.get_config()
    config.pool = dict(
        kind="real_math",
        benchmark_size=100,
        smallest=5,
        largest=11,
        exchange_ids=False,  # here they say what the sources are
    )
    config.prompt.examples_per_source = 0  # with rows, prompts have twice the tokens
    config.sampling.update(max_prompt_tokens=960, max_new_tokens=640)
    config.judge.update(max_chars=600, max_prompt_tokens=1024)
    config.held_out_judge.checkpoint = ""  # the mini one has seen mini rows only
    config.generator.update(max_prompt_tokens=1024)
    config.base.update(max_prompt_tokens=1024, rows=16)
    config.verifier.correctness = "arithmetic"
    config.verifier.gates.max_tokens = 512  # finetune.row_tokens
    config.rl.update(steps=4)
    config.finetune.update(steps=100, batch_rows=4, row_tokens=512, targets_per_row=256)
    config.evaluation.update(tasks=("gsm8k",))
    return config
