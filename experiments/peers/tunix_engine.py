"""One process that measures Tunix's sampler; see `measure_engine.py`.

Runs in an environment of its own with `google-tunix`. The sampler is the one of its
`VanillaRollout`, called as there. Batches are static: one decodes until its longest
row has ended. A schedule ends the rows, as random weights would not: the wrapped model
gives the end token a score that nothing else can reach once it is due, so that the
sampler's own loop stops as it does with real completions.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx
import jax.numpy as jnp
import numpy as np
from tunix.generate import sampler as samplers
from tunix.models.qwen3 import model as qwen3

from experiments.peers import measure_engine
from experiments.peers import tunix_model

_SHORT = 2  # new tokens of a warm-up
_SURE = 1e9


class _Schedule:
    """When the rows of the next batch end; compared by identity, so it may change.

    Attributes:
      last: For each row, how many tokens precede its end token.
    """

    def __init__(self):
        self.last = np.zeros(0, np.int32)


class _Ending(nnx.Module):
    """A model whose rows end when it is due: the schedule travels in the cache."""

    def __init__(self, model: qwen3.Qwen3, schedule: _Schedule, end_id: int):
        self.model = model
        self.config = model.config
        self.schedule = schedule
        self.end_id = end_id

    def init_cache(self, batch_size: int, cache_size: int, dtype: Any) -> dict:
        """Returns an empty cache, and the schedule."""
        cache = self.model.init_cache(batch_size, cache_size, dtype)
        return cache | {"ends": {"last": jnp.asarray(self.schedule.last)}}

    def __call__(self, tokens, positions, cache, attention_mask):
        """Returns the model's logits with the end token's score set, and the cache."""
        ends = cache["ends"]
        layers = {name: kept for name, kept in cache.items() if name != "ends"}
        logits, layers = self.model(tokens, positions, layers, attention_mask)
        due = positions + 1 >= ends["last"][:, None]
        end = jnp.where(due, _SURE, -_SURE)
        return logits.at[:, :, self.end_id].set(end), layers | {"ends": ends}


class _Words:
    """The tokenizer of prompts that are written as their ids."""

    def __init__(self, *, end_id: int, pad_id: int):
        self._end_id, self._pad_id = end_id, pad_id

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))

    def bos_id(self) -> int:
        return 0  # none is put before a prompt

    def eos_id(self) -> int:
        return self._end_id

    def pad_id(self) -> int:
        return self._pad_id


def load(job: Mapping[str, Any]) -> qwen3.Qwen3:
    """Reads the weights."""
    return tunix_model.load(job, dtype="float32", param_dtype="float32")


def make(
    job: Mapping[str, Any], workload: Mapping[str, Any], model: qwen3.Qwen3
) -> measure_engine.Program:
    """Returns what answers the workload batch by batch."""
    prompts, counts = workload["prompts"], workload["new_tokens"]
    longest, prompt_tokens = max(counts), max(map(len, prompts))
    schedule = _Schedule()
    end_id = workload["end_id"]
    sampler = samplers.Sampler(
        _Ending(model, schedule, end_id),
        _Words(end_id=end_id, pad_id=workload["pad_id"]),
        samplers.CacheConfig(
            cache_size=prompt_tokens + longest,
            num_layers=model.config.num_layers,
            num_kv_heads=model.config.num_kv_heads,
            head_dim=model.config.head_dim,
        ),
    )

    def generate(
        texts: list[list[int]], limits: list[int], **distribution: Any
    ) -> list[list[int]]:
        lengths = zip(texts, limits, strict=True)
        schedule.last = np.array([len(t) + n - 1 for t, n in lengths], np.int32)
        with tunix_model.mesh():
            found = sampler(
                [" ".join(map(str, text)) for text in texts],
                max_generation_steps=longest,
                max_prompt_length=prompt_tokens,
                **distribution,
            )
        # The sampler leaves the end token out of what it returns.
        return [[*map(int, tokens), end_id] for tokens in found.tokens]

    def batch(chosen: range, limit: int) -> list[list[int]]:
        limits = [min(counts[i], limit) for i in chosen]
        # The compiled loop of a full batch serves a smaller one: copies fill it up.
        missing = min(job["rows"], len(prompts)) - len(limits)
        texts = [prompts[i] for i in chosen]
        found = generate(
            texts + texts[:1] * missing,
            limits + [1] * missing,
            temperature=1.0,
            top_p=1.0,
            seed=chosen[0],
        )
        return found[: len(limits)]

    slices = measure_engine.batches(len(prompts), job["rows"])

    def greedy() -> list[list[int]]:
        compared, tokens = workload["greedy_prompts"], workload["greedy_tokens"]
        found = generate(compared, [tokens + 1] * len(compared), temperature=0.0)
        return [row[:-1] for row in found]

    return measure_engine.Program(
        warm_up=lambda: batch(slices[0], _SHORT),
        run=lambda: [row for chosen in slices for row in batch(chosen, longest)],
        greedy=greedy,
        host_share=lambda: None,
    )


if __name__ == "__main__":
    measure_engine.main(load, make, packages=("google-tunix", "jax", "flax"))
