r"""Tokens a CPU-second of our engine beside Tunix's and transformers'.

    python experiments/run.py --config=configs/bench/engine.py \
        --config.peers.tunix=<folder>/tunix/bin/python \
        --config.peers.transformers=<folder>/trl/bin/python

The model has 27 million weights, or after a colon the sizes of a published one,
`--config=configs/bench/engine.py:qwen3-0.6b`. The peers want environments of their
own: those of `update.py`, whose `trl` has transformers. A peer that is not given is
left out; one that fails stands in the table with the reason.

Three workloads: `equal`, completions that end together; `rl`, completions of very
different lengths; `judge`, scores of real rows after a shared rubric, for which the
environment variable DATACHEF_DATA names the folder that has gsm8k/train.jsonl
(without it leave the workload out: --config.workloads="('equal', 'rl')").

Random weights end no completion, so the workload says when a row ends: ours by its
limit, in Tunix and `generate` of transformers by an end token that is impossible
before and certain then. Their batches are static and decode until their longest row
has ended; only what was asked for counts. The continuous batching of transformers has
limits as ours. All sample at temperature 1, in float32, on all cores.

Hardware: Linux, CPU, 24 GiB.
"""

import ml_collections as mlc

_ARCHITECTURES = {
    "30m": dict(
        vocab_size=4096,
        hidden_size=512,
        intermediate_size=1536,
        num_layers=8,
        num_heads=8,
        num_kv_heads=4,
        head_dim=64,
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_embeddings=True,
        max_positions=4096,
    ),
    "qwen3-0.6b": dict(published="0.6b"),
}
# Each program is tried with these batches. Of 0.6b 32 rows of 896 tokens have 6 GiB
# of keys and values, which transformers copies at every step.
_ROWS = {
    "30m": dict(
        ours=(32, 64),
        tunix=(8, 16, 32),
        transformers=(16, 32, 64),
        continuous=(8, 16, 32),
    ),
    "qwen3-0.6b": dict(
        ours=(16, 32), tunix=(8, 16), transformers=(16, 32), continuous=(8, 16)
    ),
}


def get_config(size: str = "30m") -> mlc.ConfigDict:
    """Returns every setting of the run; nothing is set anywhere else."""
    if size not in _ARCHITECTURES:
        raise ValueError(f"{size!r} is none of {sorted(_ARCHITECTURES)}")
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_engine"
    config.mesh = dict(data=1, model=1)  # every program has one device
    config.peers = dict(tunix="", transformers="")  # a Python that has it
    config.architecture = _ARCHITECTURES[size]

    config.workloads = ("equal", "rl", "judge")  # what is measured
    config.equal = dict(prompts=4, group=8, prompt_tokens=128, new_tokens=128)
    config.rl = dict(
        prompts=16,
        group=8,
        prompt_tokens=128,
        cap=768,
        mean_tokens=128,  # log-normal, before the cut: cap / 6
        sigma=1.0,  # of the lengths' logarithms
    )
    config.judge = dict(rows=512, rubric_tokens=600)
    config.greedy = dict(prompts=4, tokens=16)  # compared with transformers'

    config.rows = _ROWS[size]
    config.rounds = 3  # processes for each program, after the first with its best rows
    config.floor_slots = 32  # rows that an ideal program has live at a time
    return config
