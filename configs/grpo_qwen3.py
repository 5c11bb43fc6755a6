"""GRPO of a real Qwen3, the paper's settings: size 0.6b, 8b or 32b after the colon.

    python experiments/run.py --config=configs/grpo_qwen3.py:32b

Wants checkpoints in Hugging Face's format in `checkpoints/`: `Qwen3-<SIZE>` (policy,
judge and generator), `Qwen3-1.7B-Base` (the model that recipes are for), as
`huggingface-cli download Qwen/Qwen3-32B --local-dir checkpoints/Qwen3-32B` leaves
them. The policy should be the one that `configs/cold_start_qwen3.py` made. Meant for
a TPU pod of 256 chips (32b), 32 (8b) or a single host (0.6b): `configs/compile/` says
what fits. `paper` means arXiv:2602.11089; what it leaves open is marked as ours.
"""

import ml_collections as mlc

from configs import quickstart

# Size -> devices along the model axis, completions of a backward pass.
_LAYOUTS = {"0.6b": (1, 8), "8b": (4, 16), "32b": (8, 32)}


def get_config(size: str) -> mlc.ConfigDict:
    """Returns every setting that differs from the quickstart's.

    Args:
      size: A key of `_LAYOUTS`.
    """
    if size not in _LAYOUTS:
        raise ValueError(f"size {size!r} is none of {sorted(_LAYOUTS)}")
    model_axis, micro_batch = _LAYOUTS[size]
    config = quickstart.get_config()
    config.mesh = dict(data=-1, model=model_axis)
    config.pool = dict(  # the paper: 31 benchmarks, 257 sources
        kind="real_math",
        benchmark_size=1319,
        smallest=5,
        largest=11,
        exchange_ids=False,
    )
    name = f"checkpoints/Qwen3-{size.upper()}"
    config.tokenizer = name
    config.policy.update(
        checkpoint=name,
        dtype="bfloat16",
        remat="full",
        shard_sequence=model_axis > 1,
        unroll=1,
    )
    config.base.update(
        checkpoint="checkpoints/Qwen3-1.7B-Base",
        remat="full",
        rows=256,
        max_prompt_tokens=2048,
        max_new_tokens=2048,
    )
    config.judge.update(  # the paper: gpt-oss-120b
        checkpoint=name,
        style="full",
        max_chars=12_000,
        max_prompt_tokens=4096,
    )
    config.held_out_judge.checkpoint = ""  # ours: none, for it takes memory, too
    config.generator.update(  # open in the paper
        checkpoint=name,
        max_new_tokens=1024,
        temperature=0.7,
        rows=64,
        max_prompt_tokens=4096,
    )
    config.prompt = dict(
        rules=True, toolkit=True, examples_per_source=2, max_example_chars=600
    )
    config.sampling.update(
        max_prompt_tokens=8192,  # ours, as is the next
        max_new_tokens=8192,
        rows=128,
    )
    config.engine.update(read_tokens=2048, reserve_bytes=8 * 2**30)
    config.sandbox.update(  # all ours
        cpu_seconds=120.0,
        wall_seconds=600.0,
        memory_bytes=8 * 2**30,
        dataset_bytes=2**30,
        dataset_rows=1_000_000,
        llm_tokens=2_000_000,
        llm_seconds=3600.0,
        workers=16,
        row_cap=1000,
    )
    config.verifier.update(rows_per_dataset=100)  # paper, section 3.3
    config.verifier.gates.update(max_chars=32_000, max_tokens=2048, enough_rows=10_000)
    config.rl.update(
        steps=312,  # one epoch of 5,000 tasks, 16 at a time
        prompts_per_step=16,  # paper, section 4.1; so are the next two
        group_size=8,
        micro_batch=micro_batch,
        ratio="recipe",  # as the paper prints it
        weights_per="sequence",
        engine_weights="sequence",  # ours: the engine computes in bfloat16
    )
    config.optimizer.update(
        learning_rate=5e-7,  # paper, section 4.1
        warmup_steps=10,
        b2=0.95,
    )
    config.finetune.update(  # paper, section 4.1: 3 epochs, 2e-5, batch 64
        optimizer="adamw",
        learning_rate=2e-5,
        steps=469,  # three epochs of 10,000 rows, 64 at a time
        batch_rows=64,
        warmup_steps=14,
        b1=0.9,
        b2=0.95,
        row_tokens=2048,
        targets_per_row=2048,
    )
    config.evaluation.update(tasks=("gsm8k",), recipes=32, oracle=8)
    config.checkpoint.update(every_steps=5)
    return config
