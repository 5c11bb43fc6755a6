r"""One GRPO update beside Tunix's and TRL's: seconds, CPU-seconds, memory, loss.

    python experiments/run.py --config=configs/bench/update.py \
        --config.peers.tunix=<folder>/tunix/bin/python \
        --config.peers.trl=<folder>/trl/bin/python

The peers want environments of their own, on a CPU made with

    python -m venv <folder>/tunix
    <folder>/tunix/bin/pip install google-tunix==0.1.7
    python -m venv <folder>/trl
    <folder>/trl/bin/pip install trl==1.16.0 transformers==5.23.0 torch==2.13.0 \
        --extra-index-url https://download.pytorch.org/whl/cpu

A peer that is not given is left out and stands in the summary as not measured; one
that fails or is killed too, with the reason. All programs read the same weights and
the same rows, and the run fails if their losses or gradient norms differ.

Hardware: Linux with two cores and 24 GiB; Tunix needs more for all rows in one
micro-batch. On an accelerator set XLA_PYTHON_CLIENT_PREALLOCATE=false, since several
processes share it; `mfu` is measured there only.
"""

import ml_collections as mlc


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run; nothing is set anywhere else."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_update"
    config.mesh = dict(data=1, model=1)  # every program has one device
    config.peers = dict(tunix="", trl="")  # a Python that has it; "" leaves it out

    # Small layers under the vocabulary of the real models.
    config.architecture = dict(
        vocab_size=151_936,
        hidden_size=512,
        intermediate_size=1536,
        num_layers=8,
        num_heads=8,
        num_kv_heads=4,
        head_dim=64,
        rope_theta=1_000_000.0,  # Tunix reads no other
        rms_norm_eps=1e-6,
        tie_embeddings=True,
        max_positions=4096,
    )
    config.dtype = "float32"
    config.param_dtype = "float32"
    config.batch = dict(
        rows=8,
        prompt_tokens=512,
        new_tokens=512,
        # Below `new_tokens` completions are of different lengths. The peers weight
        # every micro-batch the same and then compute another loss, unless they have
        # one only.
        shortest_completion=512,
        behavior_noise=0.1,  # nats; makes some ratios reach the clip bounds
    )
    config.objective = dict(clip_low=0.2, clip_high=0.2)
    config.optimizer = dict(
        learning_rate=1e-5,
        b1=0.9,
        b2=0.99,
        weight_decay=0.0,  # the three exempt different weights
        max_grad_norm=1.0,
    )

    # What is measured, in turns. Rows of one backward pass: `micro_batch`. What it
    # recomputes: nothing or every layer, for `remat` none or full.
    config.variants = (
        dict(program="ours", remat="none", micro_batch=1),
        dict(program="tunix", remat="none", micro_batch=1),
        dict(program="trl", remat="none", micro_batch=1),
        dict(program="ours", remat="full", micro_batch=1),
        dict(program="tunix", remat="full", micro_batch=1),
        dict(program="ours", remat="none", micro_batch=8),
        dict(program="tunix", remat="none", micro_batch=8),
        dict(program="trl", remat="none", micro_batch=8),
    )
    config.rounds = 3  # processes for each variant
    config.steps = 2  # timed updates of a process, after one that compiles
    config.tolerance = dict(loss=1e-4, grad_norm=1e-3)  # relative

    config.mfu = dict(
        models=("0.6b", "1.7b"),  # published sizes
        dtype="bfloat16",
        param_dtype="float32",
        remat="full",
        micro_batch=4,
        rows=16,
        prompt_tokens=1024,
        new_tokens=1024,
        steps=5,
        peak_tflops=989.4,  # H100 SXM, bfloat16, dense
    )
    return config
