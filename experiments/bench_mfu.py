"""Which share of an accelerator's peak our update of a larger model reaches (MFU).

As in PaLM (arXiv:2204.02311, appendix B), what a backward pass recomputes is not
counted. Unlike there, causal attention counts for the half that is not masked, and the
output head for the tokens that it must score: those of completions.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
import statistics
import sys
from typing import Any

from flax import nnx
import jax

from datachef_jax.models.qwen3 import layout
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from experiments import bench_inputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mfu:
    """What is measured, with random weights.

    Attributes:
      models: Sizes by name.
      compute: How they compute.
      rows: What is learned from.
      micro_batch: Rows of one backward pass.
      steps: Timed updates.
      settings: Of objective and optimizer, as `our_update.py` wants them.
      peak_tflops: Of the accelerator, in 10^12 operations a second.
      seed: Of weights and rows.
    """

    models: Mapping[str, Qwen3Config]
    compute: Compute
    rows: bench_inputs.Rows
    micro_batch: int
    steps: int
    settings: Mapping[str, Any]
    peak_tflops: float
    seed: int

    def run(self, root: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
        """Returns the figures of each model; on a CPU, why there are none.

        Keys: `mfu`, in percent of the peak; `seconds` of an update, the median;
        `tokens_per_second`; `device_peak_gib`.

        Raises:
          RuntimeError: If an update fails.
        """
        if jax.default_backend() == "cpu":
            return {"not_measured": "the device is a CPU, whose peak is not known"}
        return {
            name: self._measure(name, sizes, root, folder)
            for name, sizes in self.models.items()
        }

    def _measure(
        self, name: str, sizes: Qwen3Config, root: pathlib.Path, folder: pathlib.Path
    ) -> dict[str, float]:
        batch = folder / f"{name}.npz"
        if not batch.exists():
            bench_inputs.write_rows(
                batch,
                self.rows,
                vocab_size=sizes.vocab_size,
                seed=self.seed,
                model=None,
            )
        job = {
            "folder": "",
            "seed": self.seed,
            "batch": str(batch),
            "sizes": plain(sizes),
            "rows": self.rows.rows,
            "new_tokens": self.rows.new_tokens,
            "steps": self.steps,
            "dtype": self.compute.dtype,
            "param_dtype": self.compute.param_dtype,
            "remat": self.compute.remat,
            "unroll": self.compute.unroll,
            "micro_batch": self.micro_batch,
            **self.settings,
        }
        found = bench_inputs.start(
            sys.executable, "our_update", job, folder / name, root=root
        )
        if isinstance(found, str):
            raise RuntimeError(f"{name}: {found}")
        seconds = statistics.median(found["seconds"])
        tokens = self.rows.rows * (self.rows.prompt_tokens + self.rows.new_tokens)
        reached = flops(sizes, self.rows) / seconds
        return {
            "mfu": round(100 * reached / (self.peak_tflops * 1e12), 2),
            "seconds": round(seconds, 4),
            "tokens_per_second": round(tokens / seconds, 1),
            "device_peak_gib": round(found["device_peak_gib"], 2),
        }


def flops(sizes: Qwen3Config, rows: bench_inputs.Rows) -> float:
    """Returns the operations of one update, 2 for each multiplication and addition.

    6 for each weight and token: 2 forwards and 4 backwards. The same factor for the two
    products of attention, whose tokens see half of the sequence on average.
    """
    compute = Compute(
        dtype="float32", param_dtype="float32", remat="none", shard_sequence=False,
        unroll=1,
    )  # fmt: skip
    shapes = nnx.state(layout.abstract(sizes, compute), nnx.Param)
    everything = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    table = sizes.vocab_size * sizes.hidden_size
    layers = everything - table * (1 if sizes.tie_embeddings else 2)
    time = rows.prompt_tokens + rows.new_tokens
    attention = 2 * sizes.num_layers * sizes.num_heads * sizes.head_dim * time / 2
    return 6.0 * rows.rows * (time * (layers + attention) + rows.new_tokens * table)


def plain(sizes: Qwen3Config) -> dict[str, Any]:
    """Returns the numbers of a model for a job; rope scaling and windows have none."""
    fields = dataclasses.asdict(sizes)
    return {k: v for k, v in fields.items() if isinstance(v, (bool, int, float))}


def lines(figures: Mapping[str, Any]) -> list[str]:
    """Returns the figures as lines of Markdown."""
    if "not_measured" in figures:
        return [f"MFU is not measured: {figures['not_measured']}."]
    made = [
        "| model | MFU % | seconds | tokens/s | device GiB |",
        "|---|" + "---:|" * 4,
    ]
    for name, one in figures.items():
        made.append(
            f"| {name} | {one['mfu']:.1f} | {one['seconds']:.3f} | "
            f"{one['tokens_per_second']:.0f} | {one['device_peak_gib']:.1f} |"
        )
    return made
