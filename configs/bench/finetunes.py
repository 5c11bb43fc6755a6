"""Fine-tunes of the mini base: alone, in threads and several in one program.

    python experiments/run.py --config=configs/bench/finetunes.py

Seconds and CPU-seconds of a fine-tune as the quickstart does it, for each way and each
number of fine-tunes at once. On several accelerators add --config.mesh.data=-1.
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run."""
    whole = quickstart.get_config()
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_finetunes"
    config.mesh = dict(data=1, model=1)
    config.tokenizer = whole.tokenizer
    config.policy = {  # how all models compute
        field: whole.policy[field] for field in ("dtype", "shard_sequence", "unroll")
    }
    config.base = whole.base
    for field in ("rows", "max_prompt_tokens", "max_new_tokens"):
        del config.base[field]
    config.finetune = whole.finetune
    del config.finetune.max_rows

    # The first is what the others must agree with.
    config.variants = (
        dict(fit="one_by_one", width=1),
        dict(fit="in_threads", width=2),
        dict(fit="in_threads", width=4),
        dict(fit="in_one_program", width=1),
        dict(fit="in_one_program", width=2),
        dict(fit="in_one_program", width=4),
        dict(fit="in_one_program", width=8),
    )
    config.datasets = 8
    config.examples = dict(examples=500, shortest=20, longest=48, targets=8)
    config.rounds = 5
    config.steps = 20  # of the updates of a fine-tune, timed
    config.tolerance = 0.01
    return config
