"""Loading a checkpoint of 4 GiB: seconds and the most memory that it takes.

    python experiments/run.py --config=configs/bench/load.py

Writes random weights in Hugging Face's format, several files of them, and loads them
in a process of its own in the dtype that they are stored in; beside it, for the time,
`safetensors` alone reads every tensor and keeps none. Needs 5 GiB of disk.
"""

import ml_collections as mlc


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_load"
    config.mesh = dict(data=1, model=1)
    config.architecture = dict(  # Qwen3-1.7B with a head of its own and 31 layers
        vocab_size=151_936,
        hidden_size=2048,
        intermediate_size=6144,
        num_layers=31,
        num_heads=16,
        num_kv_heads=8,
        head_dim=128,
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_embeddings=False,
        max_positions=40_960,
    )
    config.stored_dtype = "bfloat16"
    config.max_file_bytes = 10**9
    return config
