"""Rows a second through the verifier, beside the same judge run with transformers.

    python experiments/run.py --config=configs/bench/verifier.py \
        --config.peers.transformers=<folder>/trl/bin/python

Two settings: `mini`, the shipped judge over rows of all mini tasks, and `full`, the
whole rubric and a random judge of 27 million weights over GSM8K, for which the
environment variable DATACHEF_DATA names the folder that has gsm8k/train.jsonl (without
it: --config.settings="('mini',)"). Last, the verifier's share of a step of the
quickstart's GRPO.

The peer wants an environment of its own: that of `update.py` named `trl` has it.
Hardware: Linux, CPU, 8 GiB.
"""

import ml_collections as mlc

from configs import quickstart
from configs.bench import engine


def get_config() -> mlc.ConfigDict:
    """Returns the quickstart's GRPO, and what is measured besides."""
    config = quickstart.get_config()
    config.experiment = "bench_verifier"
    for unused in ("base", "finetune", "evaluation"):
        del config[unused]
    config.peers = dict(transformers="")  # a Python that has it
    config.settings = ("mini", "full")
    config.rounds = 3  # processes for each program, after the first with its best batch
    config.tolerance = 1e-4  # of a grade's probability, between any two programs

    config.warm_up = 2  # of rl.steps, which compile and are not counted

    config.mini = dict(
        datasets=8,  # of each of the 12 tasks, of random sources
        batches=(32, 64, 128, 256),  # of transformers
    )
    config.full = dict(
        datasets=4,  # equal parts of GSM8K's train split, of which rows are drawn
        benchmark_size=1319,  # of GSM8K's test split, which rows may not give away
        vocab_size=4096,
        batches=(4, 8, 16),
        changes=dict(  # of the sections above
            architecture=_without_vocabulary(engine.get_config("30m").architecture),
            policy=dict(unroll=8),
            judge=dict(
                style="full",
                max_chars=2000,
                min_mass=0.0,  # a random judge likes no grade
                max_prompt_tokens=1536,
            ),
            verifier=dict(gates=dict(max_chars=4000, max_tokens=1024)),
            engine=dict(page_size=128, read_tokens=512),  # prompts of 600 tokens
        ),
    )
    return config


def _without_vocabulary(architecture: mlc.ConfigDict) -> dict:
    sizes = architecture.to_dict()
    del sizes["vocab_size"]
    return sizes
