"""The experiment of `configs/quickstart.py` with random models, as small as it gets.

It is what tests of the front door run: its argument is a tokenizer folder, nothing
shipped is needed, and its figures mean nothing.
"""

import ml_collections as mlc


def get_config(tokenizer: str) -> mlc.ConfigDict:
    """Returns every setting of the run."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "table1"
    config.pool = dict(
        kind="mini",
        seed=0,
        benchmark_size=16,
        smallest=1,
        largest=3,
        exchange_ids=True,
    )
    config.mesh = dict(data=-1, model=1)
    config.tokenizer = tokenizer
    config.architecture = dict(
        hidden_size=16,
        intermediate_size=32,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_embeddings=True,
        max_positions=2048,
    )
    config.policy = dict(
        checkpoint="random", dtype="float32", param_dtype="float32", remat=False
    )
    config.judge = dict(
        checkpoint="random",
        style="compact",
        max_chars=200,
        min_mass=0.0,
        rows=16,
        prompt_buckets=(256, 1024),
    )
    config.generator = dict(
        checkpoint="random",
        max_new_tokens=4,
        temperature=0.0,
        rows=16,
        prompt_buckets=(256,),
    )
    config.base = dict(
        checkpoint="random", rows=16, prompt_buckets=(128,), max_new_tokens=4
    )
    config.prompt = dict(
        rules=False, toolkit="", examples_per_source=1, max_example_chars=40
    )
    config.sampling = dict(
        temperature=1.0, max_prompt_tokens=2048, max_new_tokens=4, rows=16
    )
    config.sandbox = dict(
        cpu_seconds=20.0,
        wall_seconds=120.0,
        memory_bytes=2**31,
        processes=8,
        file_bytes=2**24,
        output_bytes=2**14,
        dataset_bytes=2**25,
        llm_calls=64,
        workers=2,
        row_cap=100,
    )
    config.verifier = dict(
        rows_per_dataset=8,
        max_malformed_share=0.5,
        gates=dict(
            max_chars=2000,
            repetition_ngram=3,
            repetition_min_tokens=30,
            max_repetition=0.5,
            duplication_weight=1.0,
            contamination_weight=1.0,
            min_rows=10,
        ),
    )
    config.rl = dict(
        steps=2,
        prompts_per_step=2,
        group_size=2,
        divide_by_std=True,
        delta=1e-4,
        clip_low=0.2,
        clip_high=0.28,
        kl_weight=0.01,
        ratio="token",
        max_log_ratio=10.0,
        micro_batch=4,
        updates_per_step=1,
        lambda_empty=0.5,
        lambda_format=0.5,
    )
    config.optimizer = dict(
        learning_rate=1e-3,
        warmup_steps=0,
        b1=0.9,
        b2=0.95,
        weight_decay=0.0,
        max_grad_norm=1.0,
    )
    config.finetune = dict(
        optimizer="adamw",
        learning_rate=1e-3,
        warmup_steps=0,
        b1=0.9,
        b2=0.95,
        weight_decay=0.0,
        max_grad_norm=1.0,
        steps=4,
        batch_rows=16,
        row_tokens=64,
        targets_per_row=32,
        max_rows=64,
        sync_every=4,
    )
    config.evaluation = dict(
        tasks=("number_sorting",), seeds=1, recipes=2, oracle=2
    )
    config.checkpoint = dict(every_steps=1, keep=2)
    return config
