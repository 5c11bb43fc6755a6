"""How much log-probabilities change if weights, keys and values are stored narrower.

Completions are sampled with everything as it is; then every variant scores the same
tokens. `summary.json` has `tokens`, how many were scored, and for each of `variants`,
the reference first: `dtype`, `weights`, `pages`, `mean_change` and `max_change` of a
sampled token's log-probability from the reference's, without its sign and in nats,
`weights_bytes` and `page_bytes` (of all layers).
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
import pathlib

from flax import nnx
import jax
import numpy as np

from datachef_jax.models.qwen3 import int8_decoder
from datachef_jax.models.qwen3.quantize import Stored
from datachef_jax.sampling import sizing
from datachef_jax.sampling.engine import Engine
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving import client
from experiments import environment
from experiments import models
from experiments import results

_READ_TOKENS = 512  # at a time, of all completions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to compute and to store.

    Attributes:
      dtype: Of activations, and of weights that are stored as they are.
      stored: How weights, keys and values are stored.
    """

    dtype: str
    stored: Stored


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchInt8:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      load: Returns the policy with activations and weights of a dtype.
      prompts: To complete, as ids.
      group_size: Completions of each.
      sampling: How they are drawn.
      rows: Completions decoded at a time.
      page_size: Positions of a page.
      end_id: The token that ends a completion.
      reference: What the others are compared with, and what samples.
      variants: The others.
      seed: Of the completions.
    """

    workdir: pathlib.Path
    load: Callable[[str], models.Model]
    prompts: Sequence[Sequence[int]]
    group_size: int
    sampling: Sampling
    rows: int
    page_size: int
    end_id: int
    reference: Variant
    variants: Sequence[Variant]
    seed: int

    def run(self, record: environment.Environment) -> None:
        """Samples, scores with every variant, prints the table."""
        with record.stage("sampling"):
            texts = self._sample()
        found = []
        for variant in (self.reference, *self.variants):
            with record.stage("scoring"):
                found.append((variant, self._score(variant, texts)))
        expected = found[0][1]
        summary = {
            "tokens": expected.size,
            "variants": [
                self._figures(variant, logprobs, expected)
                for variant, logprobs in found
            ],
        }
        print(table(summary))
        results.write_text(self.workdir / "table.md", table(summary) + "\n")
        results.write_json(self.workdir / "summary.json", summary)

    def _sample(self) -> list[tuple[int, tuple[int, ...]]]:
        """Returns each prompt's length, and the prompt with a completion."""
        count = len(self.prompts) * self.group_size
        done = self._client(self.reference).generate(
            self.prompts,
            group_size=self.group_size,
            seeds=self.seed + np.arange(count, dtype=np.uint32),
            sampling=self.sampling,
        )
        prompts = [tuple(p) for p in self.prompts for _ in range(self.group_size)]
        return [
            (len(prompt), prompt + completion.tokens)
            for prompt, completion in zip(prompts, done, strict=True)
        ]

    def _score(
        self, variant: Variant, texts: Sequence[tuple[int, tuple[int, ...]]]
    ) -> np.ndarray:
        """Returns the log-probability of every completion's every token."""
        requests = [Request(prompt=text, prompt_logprobs=True) for _, text in texts]
        found: list[tuple[float, ...]] = [()] * len(texts)
        for i, part in self._client(variant).serve(requests):
            found[i] = part.scores.prompt[texts[i][0] - 1 :]
        return np.concatenate(found)

    def _client(self, variant: Variant) -> client.Direct:
        policy = self.load(variant.dtype)
        engine = Engine.sized(
            policy.graphdef,
            policy.params,
            end_id=self.end_id,
            stored=variant.stored,
            rows=self.rows,
            group=self.group_size,
            max_prompt=max(map(len, self.prompts)) + self.sampling.max_new_tokens,
            max_new_tokens=self.sampling.max_new_tokens,
            page_size=self.page_size,
            read_tokens=_READ_TOKENS,
            free_bytes=sizing.free_bytes(),
        )
        return client.Direct(engine, policy.params, version=0)

    def _figures(
        self, variant: Variant, logprobs: np.ndarray, expected: np.ndarray
    ) -> dict[str, str | float | int]:
        policy = self.load(variant.dtype)
        model = nnx.merge(policy.graphdef, policy.params)
        change = np.abs(logprobs - expected)
        return {
            "dtype": variant.dtype,
            "weights": variant.stored.weights,
            "pages": variant.stored.pages,
            "mean_change": float(change.mean()),
            "max_change": float(change.max()),
            "weights_bytes": weights_bytes(policy, variant.stored),
            "page_bytes": sizing.page_bytes(
                model.config,
                variant.stored.pages_dtype(variant.dtype),
                page_size=self.page_size,
            ),
        }


def weights_bytes(policy: models.Model, stored: Stored) -> int:
    """Returns what the engine's weights take."""

    def weights(params: nnx.State) -> nnx.State:
        model = nnx.merge(policy.graphdef, params)
        return nnx.state(int8_decoder.decoder(model, stored), nnx.Param)

    shapes = jax.tree.leaves(jax.eval_shape(weights, policy.params))
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in shapes)


def table(summary: dict) -> str:
    """Returns the figures as a Markdown table."""
    lines = [
        f"| {summary['tokens']} tokens, computed in | weights | keys and values | "
        "mean change (nats) | largest | MiB of weights | KiB of a page |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for figures in summary["variants"]:
        lines.append(
            f"| {figures['dtype']} | {figures['weights']} | {figures['pages']} | "
            f"{figures['mean_change']:.5f} | {figures['max_change']:.4f} | "
            f"{figures['weights_bytes'] / 2**20:.2f} | "
            f"{figures['page_bytes'] / 2**10:.1f} |"
        )
    return "\n".join(lines)
