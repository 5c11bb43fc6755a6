"""One process that measures continuous batching of transformers.

As `transformers_engine.py`, in the same environment, but through the manager that its
`generate_batch` uses: a row that has ended gives its place to the next one. Every row
has a limit of its own, as ours have.
"""

from collections.abc import Mapping
from typing import Any

from experiments.peers import measure_engine
from experiments.peers import (
    transformers_engine,
)  # before torch: it sets how torch waits

import torch
import transformers
from transformers.generation import ContinuousBatchingConfig

_SHORT = 2  # new tokens of a warm-up
_PAGE = 128  # tokens; the prompts of a group share full pages
_PATIENCE = 1.0  # seconds between two looks at whether the manager still runs


def make(
    job: Mapping[str, Any],
    workload: Mapping[str, Any],
    model: transformers.PreTrainedModel,
) -> measure_engine.Program:
    """Returns what answers the workload, all of its rows handed over at once."""
    prompts, counts = workload["prompts"], workload["new_tokens"]
    compared = workload["greedy_prompts"]
    pages = -(-(max(map(len, prompts)) + max(counts)) // _PAGE)
    settings = ContinuousBatchingConfig(
        page_size=_PAGE,
        num_blocks=job["rows"] * pages,
        max_requests_per_batch=job["rows"],
        max_batch_tokens=4 * _PAGE,
    )

    def answer(
        texts: list[list[int]], limits: list[int], *, sample: bool
    ) -> list[list[int]]:
        return _answer(model, settings, texts, limits, sample=sample)

    few = slice(job["rows"])
    return measure_engine.Program(
        warm_up=lambda: answer(
            prompts[few], [min(n, _SHORT) for n in counts[few]], sample=True
        ),
        run=lambda: answer(prompts, counts, sample=True),
        greedy=lambda: answer(
            compared, [workload["greedy_tokens"]] * len(compared), sample=False
        ),
        host_share=lambda: None,
    )


@torch.no_grad()
def _answer(
    model: transformers.PreTrainedModel,
    settings: ContinuousBatchingConfig,
    prompts: list[list[int]],
    counts: list[int],
    *,
    sample: bool,
) -> list[list[int]]:
    distribution = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}
    generation = transformers.GenerationConfig(
        do_sample=sample,
        eos_token_id=-1,  # no token ends a row, only its limit
        max_new_tokens=max(counts),
        **distribution,
    )
    found: dict[str, list[int]] = {}
    with model.continuous_batching_context_manager(
        generation_config=generation, continuous_batching_config=settings
    ) as manager:
        for i, (prompt, count) in enumerate(zip(prompts, counts, strict=True)):
            manager.add_request(prompt, request_id=str(i), max_new_tokens=count)
        while len(found) < len(prompts):
            result = manager.get_result(timeout=_PATIENCE)
            if result is None and not manager.is_running():
                raise RuntimeError("the manager has ended before its requests")
            if result is not None and result.error is not None:
                raise RuntimeError(f"row {result.request_id}: {result.error}")
            if result is not None and result.is_finished():
                found[result.request_id] = list(result.generated_tokens)
    return [found[str(i)] for i in range(len(prompts))]


if __name__ == "__main__":
    measure_engine.main(
        transformers_engine.load, make, packages=("torch", "transformers")
    )
