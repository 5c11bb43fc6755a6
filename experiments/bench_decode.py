"""How much of the memory's bandwidth decoding reaches, on whatever device there is.

Decoding reads all weights for every token of a row, and each row's keys and values: so
many bytes that the memory's bandwidth bounds it. `summary.json` has `device`;
`bandwidth`, in bytes a second, of adding a number to a large array, measured in the
same run; and `decoding`, by model and number of rows: `seconds` of a round, in which
each row gets a token; `tokens_per_second`; `bytes` that a round has to read
(`bench_floor.py`); `share`, of the bandwidth, that reading them in these seconds is; or
`not_measured`, the reason.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import time
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.sampling import sizing
from datachef_jax.sampling.engine import Engine
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from experiments import bench_floor
from experiments import environment
from experiments import results

_COPIES = 20  # of the large array; the fastest one counts
_NO_END = -1  # the token that ends a completion: only its limit does


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchDecode:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      models: Sizes by name; weights are random.
      compute: How they compute.
      rows: Numbers of completions decoded at a time.
      prompt_tokens: Of each completion's prompt.
      rounds: That are timed at a time.
      repeats: Times that so many rounds are timed; the median counts.
      page_size: Positions of a page.
      read_tokens: Of prompts, read at a time.
      copy_bytes: Of the large array.
      seed: Of weights, prompts and completions.
    """

    workdir: pathlib.Path
    models: Mapping[str, Qwen3Config]
    compute: Compute
    rows: Sequence[int]
    prompt_tokens: int
    rounds: int
    repeats: int
    page_size: int
    read_tokens: int
    copy_bytes: int
    seed: int

    def run(self, record: environment.Environment) -> None:
        """Measures everything; prints and keeps each figure as soon as it is there."""
        with record.stage("bandwidth"):
            found = bandwidth(self.copy_bytes)
        summary: dict[str, Any] = {
            "device": jax.devices()[0].device_kind,
            "bandwidth": found,
            "decoding": {},
        }
        for name, config in self.models.items():
            of_model = summary["decoding"].setdefault(name, {})
            with record.stage("weights"):
                model = weights.random(config, self.compute, seed=self.seed)
            graphdef, params = nnx.split(model, nnx.Param)
            del model
            for rows in self.rows:
                with record.stage("decoding"):
                    of_model[str(rows)] = self._measure(graphdef, params, config, rows)
                for figures in of_model.values():
                    if "seconds" in figures:
                        reached = figures["bytes"] / figures["seconds"]
                        figures["share"] = reached / found
                results.write_json(self.workdir / "summary.json", summary)
                print(f"{name}, {rows} rows: {of_model[str(rows)]}", flush=True)
            del params
        print(table(summary))
        results.write_text(self.workdir / "table.md", table(summary) + "\n")

    def _measure(
        self, graphdef: nnx.GraphDef, params: nnx.State, config: Qwen3Config, rows: int
    ) -> dict[str, Any]:
        """Returns the figures of a model with so many rows, or why there are none."""
        # Reading all prompts takes rounds, in which the first ones decode already.
        reading = rows * self.prompt_tokens // self.read_tokens + 2
        new_tokens = reading + self.rounds * (self.repeats + 1)
        try:
            engine = Engine.sized(
                graphdef,
                params,
                end_id=_NO_END,
                rows=rows,
                group=1,
                max_prompt=self.prompt_tokens,
                max_new_tokens=new_tokens,
                page_size=self.page_size,
                read_tokens=self.read_tokens,
                # Beside the weights as they are, the engine's own.
                free_bytes=sizing.free_bytes() - _bytes(params),
            )
        except ValueError as error:
            return {"not_measured": str(error)}
        rng = np.random.default_rng(self.seed)
        for i in range(rows):
            prompt = rng.integers(0, config.vocab_size, self.prompt_tokens).tolist()
            sampling = Sampling(max_new_tokens=new_tokens)
            request = Request(prompt=tuple(prompt), seeds=(i,), sampling=sampling)
            engine.submit(request)
        while self._decoded(engine, params, 1) < rows:
            pass  # prompts are still being read
        seconds, tokens = [], []
        for _ in range(self.repeats):
            before = engine.statistics()["decoded"]
            start = time.monotonic()
            decoded = self._decoded(engine, params, self.rounds)
            seconds.append((time.monotonic() - start) / self.rounds)
            if decoded != rows * self.rounds:
                raise RuntimeError(f"{decoded} tokens in {self.rounds} rounds")
            # Of all rows, in the middle of these rounds.
            tokens.append(rows * self.prompt_tokens + before + decoded / 2)
        middle = int(np.argsort(seconds)[len(seconds) // 2])
        itemsize = jnp.dtype(self.compute.dtype).itemsize
        of_weights, of_token = bench_floor.step_bytes(config, itemsize=itemsize)
        return {
            "seconds": seconds[middle],
            "tokens_per_second": rows / seconds[middle],
            "bytes": of_weights + tokens[middle] * of_token,
        }

    def _decoded(self, engine: Engine, params: nnx.State, rounds: int) -> int:
        """Works for some rounds; returns how many tokens were drawn."""
        before = engine.statistics()["decoded"]
        engine.step(params, most_rounds=rounds)
        return engine.statistics()["decoded"] - before


def bandwidth(size: int) -> float:
    """Returns the bytes a second that adding a number to so many bytes moves."""
    x = jnp.zeros(size // 4, jnp.float32)
    add = jax.jit(lambda x: x + 1.0)
    add(x).block_until_ready()
    seconds = []
    for _ in range(_COPIES):
        start = time.monotonic()
        add(x).block_until_ready()
        seconds.append(time.monotonic() - start)
    return 2 * x.nbytes / min(seconds)  # read and written


def table(summary: dict[str, Any]) -> str:
    """Returns the figures as a Markdown table."""
    lines = [
        f"{summary['device']}: {summary['bandwidth'] / 1e9:.1f} GB/s",
        "",
        "| model | rows | ms a round | tokens/s | GB to read a round | of bandwidth |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, by_rows in summary["decoding"].items():
        for rows, figures in by_rows.items():
            if "not_measured" in figures:
                lines.append(f"| {name} | {rows} | {figures['not_measured']} | | | |")
                continue
            lines.append(
                f"| {name} | {rows} | {1e3 * figures['seconds']:.2f} | "
                f"{figures['tokens_per_second']:.1f} | {figures['bytes'] / 1e9:.3f} | "
                f"{100 * figures['share']:.1f} % |"
            )
    return "\n".join(lines)


def _bytes(params: nnx.State) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(params))
