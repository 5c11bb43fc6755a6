"""Compiles every program of the 32B run for TPU pods, on a machine without TPUs.

    pip install -r requirements-parity.txt   # libtpu
    JAX_PLATFORMS=cpu python experiments/run.py --config=configs/compile/qwen3_32b.py

The programs are those of `configs/grpo_qwen3.py:32b`, with weights of no file. Leaves a
table of the memory and operations that each takes; a program that does not fit is a row
that says what it needs.
"""

import ml_collections as mlc

from configs import grpo_qwen3

# Peak rates of a chip: cloud.google.com/tpu/docs/{v5e,v5p,v6e}. The compiler knows what
# a chip's memory holds; these figures are for the predicted times.
_V5E = dict(tflops=197.0, gigabytes_per_second=819.0, hbm_gib=16.0)
_V5P = dict(tflops=459.0, gigabytes_per_second=2765.0, hbm_gib=95.0)
_V6E = dict(tflops=918.0, gigabytes_per_second=1640.0, hbm_gib=32.0)


def get_config() -> mlc.ConfigDict:
    """Returns the run's config with the topologies to compile it for."""
    config = grpo_qwen3.get_config("32b")
    config.experiment = "compile"
    config.mesh = dict(data=1, model=1)  # of the machine that compiles
    for section in (config.policy, config.judge, config.generator):
        section.checkpoint = "random/32b"
    config.base.checkpoint = "random/1.7b"
    config.compile = dict(
        topologies=(
            dict(name="v5e-256", topology="v5e:16x16", data=32, model=8, **_V5E),
            # Named by its TensorCores, of which a chip has two.
            dict(name="v5p-128", topology="v5p:4x4x4", data=8, model=8, **_V5P),
            dict(name="v6e-256", topology="v6e:16x16", data=32, model=8, **_V6E),
        ),
        # Of the peak rates; ours, what large models reach in public reports.
        efficiency=0.4,
        # Whether to look for the largest micro-batch of the update that fits.
        search=False,
    )
    return config
