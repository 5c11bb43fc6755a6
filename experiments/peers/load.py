"""One process that loads a checkpoint and does nothing else; see `bench_load.py`.

python -m experiments.peers.load {ours,safetensors} FOLDER DTYPE
"""

from collections.abc import Callable
import json
import pathlib
import sys
import time

import jax
import safetensors

from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from experiments import allocator
from experiments.peers import measure


def ours(folder: pathlib.Path, dtype: str) -> None:
    """Loads the model as every experiment does."""
    compute = Compute(
        dtype=dtype, param_dtype=dtype, remat="none", shard_sequence=False, unroll=1
    )
    jax.block_until_ready(weights.load(folder, compute))


def plain(folder: pathlib.Path, dtype: str) -> None:
    """Reads every tensor as it is stored, and keeps none."""
    del dtype
    for file in sorted(folder.glob("*.safetensors")):
        with safetensors.safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():
                tensors.get_tensor(name)


def main(load: Callable[[pathlib.Path, str], None], folder: str, dtype: str) -> None:
    """Loads once, and prints the figures as JSON."""
    allocator.keep_freed_memory()  # as `run.py` does
    jax.devices()  # starting JAX is no part of it
    start, before = time.monotonic(), measure.cpu_seconds()
    load(pathlib.Path(folder), dtype)
    figures = {
        "seconds": time.monotonic() - start,
        "cpu_seconds": measure.cpu_seconds() - before,
        "peak_gib": measure.memory("VmHWM") / 2**30,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main({"ours": ours, "safetensors": plain}[sys.argv[1]], *sys.argv[2:])
