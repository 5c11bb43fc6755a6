"""One process that measures a judge run with transformers; see `measure_engine.py`.

Runs in an environment of its own with `torch` and `transformers`. It has the prompts as
ids: rendering and tokenising are ours alone. Rows of like lengths share a batch, padded
on the right: attention looks back only, so no mask is needed, and the logits are those
of each row's last token alone. With long prompts that costs fewer CPU-seconds than the
mask of `transformers_engine.py`, with short ones as many.
"""

from collections.abc import Mapping
from typing import Any

from experiments.peers import measure_engine
from experiments.peers import (
    transformers_engine,
)  # before torch: it sets how torch waits

import torch
import transformers


@torch.inference_mode()
def score(
    model: transformers.PreTrainedModel,
    prompts: list[list[int]],
    candidates: list[int],
    *,
    pad_id: int,
) -> list[list[float]]:
    """Returns the candidates' log-probabilities after each prompt of one batch."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    inputs = torch.full((len(prompts), int(lengths.max())), pad_id)
    for i, prompt in enumerate(prompts):
        inputs[i, : len(prompt)] = torch.tensor(prompt)
    hidden = model.model(inputs, use_cache=False).last_hidden_state
    last = hidden[torch.arange(len(prompts)), lengths - 1]
    return model.lm_head(last).log_softmax(-1)[:, candidates].tolist()


def make(
    job: Mapping[str, Any],
    workload: Mapping[str, Any],
    model: transformers.PreTrainedModel,
) -> measure_engine.Program:
    """Returns what answers the workload batch by batch."""
    prompts = workload["prompts"]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    slices = measure_engine.batches(len(prompts), job["rows"])

    def answer(batch: range) -> dict[int, list[float]]:
        chosen = [order[i] for i in batch]
        found = score(
            model,
            [prompts[i] for i in chosen],
            workload["candidates"],
            pad_id=workload["pad_id"],
        )
        return dict(zip(chosen, found, strict=True))

    def run() -> list[list[float]]:
        found = {}
        for batch in slices:
            found |= answer(batch)
        return [found[i] for i in range(len(prompts))]

    return measure_engine.Program(
        warm_up=lambda: answer(slices[0]),
        run=run,
        greedy=lambda: [],
        host_share=lambda: None,
    )


if __name__ == "__main__":
    measure_engine.main(
        transformers_engine.load, make, packages=("torch", "transformers")
    )
