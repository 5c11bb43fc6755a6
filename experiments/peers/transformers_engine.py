"""One process that measures `generate` of transformers; see `measure_engine.py`.

Runs in an environment of its own with `torch` and `transformers`. Batches are static:
one decodes until its longest row has ended. A schedule ends the rows, as random
weights would not; what a row gets after its end is not counted.
"""

from collections.abc import Mapping
import os
from typing import Any

# Read when torch is loaded. By default a thread that waits for the others spins, which
# beside other work on the machine cost seven times the CPU-seconds, and more wall time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402
import transformers  # noqa: E402

from experiments.peers import measure_engine  # noqa: E402

_SHORT = 2  # new tokens of a warm-up


class _Ends(transformers.LogitsProcessor):
    """Lets each row take the end token when it is due, and never before."""

    def __init__(self, counts: list[int], *, prompt_tokens: int, end_id: int):
        self._counts = torch.tensor(counts)
        self._prompt_tokens = prompt_tokens
        self._end_id = end_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns the scores of the next token."""
        due = self._counts <= input_ids.shape[1] - self._prompt_tokens + 1
        scores[:, self._end_id] = -torch.inf
        if due.any():
            scores[due] = -torch.inf
            scores[due, self._end_id] = 0.0
        return scores


def load(job: Mapping[str, Any]) -> transformers.PreTrainedModel:
    """Reads the weights."""
    # All cores that this process may use: torch counts physical ones by itself.
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job["folder"], dtype=torch.float32
    )
    return model.eval()


@torch.inference_mode()
def generate(
    model: transformers.PreTrainedModel,
    workload: Mapping[str, Any],
    prompts: list[list[int]],
    counts: list[int],
    *,
    sample: bool,
) -> list[list[int]]:
    """Returns the completions of one batch; its prompts have the same length."""
    inputs = torch.tensor(prompts)
    prompt_tokens = inputs.shape[1]
    end_id = workload["end_id"]
    ends = _Ends(counts, prompt_tokens=prompt_tokens, end_id=end_id)
    distribution = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}
    found = model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        logits_processor=transformers.LogitsProcessorList([ends]),
        max_new_tokens=max(counts),
        do_sample=sample,
        eos_token_id=end_id,
        pad_token_id=workload["pad_id"],
        **distribution,
    )
    rows = found[:, prompt_tokens:].tolist()
    return [row[:count] for row, count in zip(rows, counts, strict=True)]


@torch.inference_mode()
def score(
    model: transformers.PreTrainedModel,
    workload: Mapping[str, Any],
    prompts: list[list[int]],
) -> list[list[float]]:
    """Returns the candidates' log-probabilities after each prompt of one batch."""
    longest = max(map(len, prompts))
    inputs = torch.full((len(prompts), longest), workload["pad_id"])
    mask = torch.zeros_like(inputs)
    for i, prompt in enumerate(prompts):  # on the left: the last token is the last
        inputs[i, longest - len(prompt) :] = torch.tensor(prompt)
        mask[i, longest - len(prompt) :] = 1
    logits = model(
        inputs, attention_mask=mask, use_cache=False, logits_to_keep=1
    ).logits[:, -1]
    return logits.log_softmax(-1)[:, workload["candidates"]].tolist()


def make(
    job: Mapping[str, Any],
    workload: Mapping[str, Any],
    model: transformers.PreTrainedModel,
) -> measure_engine.Program:
    """Returns what answers the workload batch by batch."""
    prompts, counts = workload["prompts"], workload["new_tokens"]
    # Rows of like lengths share a batch: known beforehand, unlike completions' ends.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    slices = measure_engine.batches(len(prompts), job["rows"])

    def answer(batch: range, shortened: bool) -> dict[int, Any]:
        chosen = [order[i] for i in batch]
        texts = [prompts[i] for i in chosen]
        if workload["candidates"]:
            return dict(zip(chosen, score(model, workload, texts), strict=True))
        limits = [min(counts[i], _SHORT) if shortened else counts[i] for i in chosen]
        found = generate(model, workload, texts, limits, sample=True)
        return dict(zip(chosen, found, strict=True))

    def run() -> measure_engine.Answers:
        found = {}
        for batch in slices:
            found |= answer(batch, False)
        return [found[i] for i in range(len(prompts))]

    def greedy() -> list[list[int]]:
        compared = workload["greedy_prompts"]
        limits = [workload["greedy_tokens"] + 1] * len(compared)  # none ends within
        if not compared:
            return []
        found = generate(model, workload, compared, limits, sample=False)
        return [row[:-1] for row in found]

    return measure_engine.Program(
        warm_up=lambda: answer(slices[0], True),
        run=run,
        greedy=greedy,
        host_share=lambda: None,
    )


if __name__ == "__main__":
    measure_engine.main(load, make, packages=("torch", "transformers"))
