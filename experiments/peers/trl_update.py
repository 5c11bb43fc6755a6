"""One process that measures TRL's update of GRPO; see `measure.py`.

Runs in an environment of its own with `torch`, `trl` and `transformers`. The loss is
`GRPOTrainer`'s own; around it stands what `transformers.Trainer` does in a step.
"""

from collections.abc import Mapping
import pathlib
import tempfile
from typing import Any

import datasets
import numpy as np
import tokenizers
import torch
import transformers
import trl

from experiments.peers import measure


def load(job: Mapping[str, Any]) -> transformers.PreTrainedModel:
    """Reads the weights."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job["folder"], dtype=getattr(torch, job["param_dtype"])
    )
    return model.to(_device())


def program(
    job: Mapping[str, Any], model: transformers.PreTrainedModel
) -> measure.Step:
    """Returns one update of the trainer, on the same rows again and again."""
    trainer = _trainer(job, model)
    if job["remat"] == "full":  # as `Trainer.train` does
        model.gradient_checkpointing_enable()
    model.train()
    optimizer = trainer.create_optimizer()
    batches = _batches(job)
    trainer.current_gradient_accumulation_steps = len(batches)  # as `Trainer.train`

    def step() -> tuple[float, float]:
        total = 0.0
        for inputs in batches:
            loss = trainer.compute_loss(model, inputs)
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(
            model.parameters(), job["optimizer"]["max_grad_norm"]
        )
        optimizer.step()
        model.zero_grad()
        return total, norm.item()

    return step


def _trainer(
    job: Mapping[str, Any], model: transformers.PreTrainedModel
) -> trl.GRPOTrainer:
    """Returns a trainer whose rewards and data are never asked for."""
    numbers, objective = job["optimizer"], job["objective"]
    rows = job["rows"]
    arguments = trl.GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        report_to="none",
        use_cpu=_device() == "cpu",
        bf16=job["dtype"] == "bfloat16",
        gradient_checkpointing=job["remat"] == "full",
        per_device_train_batch_size=rows,
        num_generations=rows,
        max_completion_length=job["new_tokens"],
        beta=0.0,
        epsilon=objective["clip_low"],
        epsilon_high=objective["clip_high"],
        loss_type="bnpo",  # all tokens of the batch count the same
        learning_rate=numbers["learning_rate"],
        adam_beta1=numbers["b1"],
        adam_beta2=numbers["b2"],
        weight_decay=numbers["weight_decay"],
        max_grad_norm=numbers["max_grad_norm"],
    )
    return trl.GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"prompt": ["a"] * rows}),
        processing_class=_tokenizer(),
    )


def _tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Returns a tokenizer of two words: the trainer wants one, nothing is tokenized."""
    words = tokenizers.models.WordLevel({"<pad>": 0, "a": 1}, unk_token="a")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words),
        pad_token="<pad>",
        eos_token="<pad>",
        padding_side="left",
    )


def _batches(job: Mapping[str, Any]) -> list[dict[str, torch.Tensor]]:
    """Returns the micro-batches; all prompts have the same length."""
    with np.load(pathlib.Path(job["batch"])) as arrays:
        tokens = arrays["tokens"].astype(np.int64)
        mask = arrays["completion_mask"].astype(np.int64)
        behavior, advantages = arrays["behavior_logprobs"], arrays["advantages"]
    prompt = tokens.shape[1] - job["new_tokens"]
    columns = {
        "prompt_ids": tokens[:, :prompt],
        "prompt_mask": np.ones_like(tokens[:, :prompt]),
        "completion_ids": tokens[:, prompt:],
        "completion_mask": mask[:, prompt:],
        "old_per_token_logps": behavior[:, prompt:],
        "advantages": advantages,
    }
    return [
        {
            name: torch.from_numpy(column[i : i + job["micro_batch"]].copy()).to(
                _device()
            )
            for name, column in columns.items()
        }
        for i in range(0, len(tokens), job["micro_batch"])
    ]


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _device_peak_bytes() -> int:
    return torch.cuda.max_memory_allocated() if _device() == "cuda" else 0


if __name__ == "__main__":
    measure.main(
        load,
        program,
        packages=("trl", "torch", "transformers"),
        device_peak_bytes=_device_peak_bytes,
    )
