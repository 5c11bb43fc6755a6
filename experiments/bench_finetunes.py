"""What a fine-tune of the mini base costs, alone and with others at once.

Each way of `finetune/many.py`, with each width, trains on the same datasets, in turns,
so that what else the machine does meets them all. Datasets are random tokens, for the
cost depends on shapes alone, and are packed beforehand.

`summary.json` has, by way and width: `seconds` of wall time and `cpu_seconds` of a
fine-tune, medians of the rounds, scaled from the updates that were timed to those of a
whole fine-tune; `first_seconds`, what two updates took before that, mostly to compile;
and `difference`, the largest relative difference of a loss to that of the first way.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import pathlib
import statistics
import time
from typing import Any

from jaxtyping import Float
import numpy as np
import tqdm

from datachef_jax.finetune import many
from datachef_jax.finetune import packing
from experiments import environment
from experiments import results

_FIRST = 2  # updates before the timed ones


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train.

    Attributes:
      fit: Of `finetune/many.py`.
      width: How many fine-tunes at once.
    """

    fit: many.Fit
    width: int

    def __post_init__(self):
        """Makes sure of the width.

        Raises:
          ValueError: If there is none.
        """
        if self.width < 1:
            raise ValueError(f"width={self.width} must be at least 1")

    @property
    def name(self) -> str:
        """Returns what its row of the summary is called."""
        return f"{self.fit.__name__}, {self.width}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What the datasets are like.

    Attributes:
      examples: Of each.
      shortest: Tokens of an example.
      longest: Likewise.
      targets: The last tokens of each, that are to be predicted.
    """

    examples: int
    shortest: int
    longest: int
    targets: int

    def __post_init__(self):
        """Makes sure that the numbers fit together.

        Raises:
          ValueError: If they do not.
        """
        if not self.targets < self.shortest <= self.longest:
            raise ValueError(
                f"targets={self.targets} < shortest={self.shortest} <= "
                f"longest={self.longest} must hold"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchFinetunes:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      training: The base model, and how it learns; `steps` of each fine-tune are timed.
      variants: What is measured; the first is what the others must agree with.
      datasets: How many there are; each way trains on all of them.
      vocab_size: Of their tokens.
      shape: What they are like.
      packed: Sizes of the batches, see `packing.batches`.
      rounds: How often each way is measured.
      whole: Updates of a whole fine-tune.
      tolerance: The largest `difference` that is put down to rounding.
      seed: Of the datasets.
    """

    workdir: pathlib.Path
    training: many.Training
    variants: Sequence[Variant]
    datasets: int
    vocab_size: int
    shape: Shape
    packed: Mapping[str, int]
    rounds: int
    whole: int
    tolerance: float
    seed: int

    def run(self, record: environment.Environment) -> None:
        """Measures, prints the table, writes `summary.json`.

        Raises:
          RuntimeError: If the ways do not come to the same losses.
        """
        data = [self._batches(i) for i in range(self.datasets)]
        timed, short = self.training, dataclasses.replace(self.training, steps=_FIRST)
        with record.stage("compiling"):
            first = {v.name: self._fit(v, data, short)[0] for v in self.variants}
        measured: dict[str, list[tuple[float, float]]] = {}
        losses = {}
        with record.stage("fine-tunes"):
            for _ in tqdm.trange(self.rounds, desc="rounds"):
                for variant in self.variants:
                    *took, losses[variant.name] = self._fit(variant, data, timed)
                    measured.setdefault(variant.name, []).append(tuple(took))
        expected = losses[self.variants[0].name]
        summary = {}
        for name, rounds in measured.items():
            seconds, cpu_seconds = map(statistics.median, zip(*rounds, strict=True))
            scale = self.whole / timed.steps / self.datasets
            summary[name] = {
                "seconds": scale * seconds,
                "cpu_seconds": scale * cpu_seconds,
                "first_seconds": first[name],
                "difference": float(np.max(np.abs(losses[name] / expected - 1))),
            }
        print(table(summary))
        results.write_text(self.workdir / "table.md", table(summary) + "\n")
        for name, figures in summary.items():
            if not figures["difference"] <= self.tolerance:
                raise RuntimeError(
                    f"{name}: a loss differs by {figures['difference']:.1e}, more than "
                    f"{self.tolerance:.1e}"
                )
        results.write_json(self.workdir / "summary.json", summary)

    def _fit(
        self,
        variant: Variant,
        data: Sequence[Sequence[packing.Batch]],
        training: many.Training,
    ) -> tuple[float, float, Float[np.ndarray, "datasets steps"]]:
        """Returns seconds of wall time and of CPU for all datasets, and losses."""
        batches = {str(i): iter(own) for i, own in enumerate(data)}
        started, before = time.perf_counter(), time.process_time()
        fitted = variant.fit(training, batches, width=variant.width, progress=_ignore)
        took = time.perf_counter() - started, time.process_time() - before
        return *took, np.stack([found.losses for found in fitted.values()])

    def _batches(self, dataset: int) -> list[packing.Batch]:
        """Returns what a fine-tune learns from."""
        rng = np.random.default_rng([self.seed, dataset])
        shape = self.shape
        lengths = rng.integers(shape.shortest, shape.longest + 1, size=shape.examples)
        examples = [
            packing.TokenExample(
                tuple(rng.integers(self.vocab_size, size=length).tolist()),
                (False,) * int(length - shape.targets) + (True,) * shape.targets,
            )
            for length in lengths
        ]
        endless = packing.batches(examples, **self.packed, seed=self.seed)
        return list(itertools.islice(endless, max(self.training.steps, _FIRST)))


def _ignore(count: int) -> None:
    """Does nothing with the number of updates done."""


def table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the figures as a Markdown table."""
    lines = [
        "| way, width | s a fine-tune | CPU-s a fine-tune | s to compile | "
        "largest difference of a loss |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, figures in summary.items():
        lines.append(
            f"| {name} | {figures['seconds']:.1f} | {figures['cpu_seconds']:.1f} | "
            f"{figures['first_seconds']:.1f} | {figures['difference']:.0e} |"
        )
    return "\n".join(lines)
