"""What the programs of a benchmark read, and the processes that they run in."""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
import subprocess
from typing import Any

from flax import nnx
import jax
import numpy as np

from datachef_jax import types
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.rl import update
from experiments import results
from experiments.peers import our_update


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of an update.

    Attributes:
      rows: How many; they share one update.
      prompt_tokens: Of every prompt.
      new_tokens: Of the longest completion.
      shortest_completion: Tokens of the shortest one; lengths are spread evenly.
      behavior_noise: Standard deviation in nats between the log-probabilities of the
        policy and those that the rows are said to be sampled with.
    """

    rows: int
    prompt_tokens: int
    new_tokens: int
    shortest_completion: int
    behavior_noise: float


def write_rows(
    path: pathlib.Path, rows: Rows, *, vocab_size: int, seed: int, model: Qwen3 | None
) -> None:
    """Writes the fields of a `RolloutBatch` as an .npz file.

    Args:
      path: The file.
      rows: What they are to be like.
      vocab_size: Of the tokens; id 0 is padding, by which one of the peers knows it.
      seed: Of everything random.
      model: Scores them; without one their behavior log-probabilities are 0.
    """
    generator = np.random.default_rng(seed)
    time = rows.prompt_tokens + rows.new_tokens
    lengths = np.linspace(rows.shortest_completion, rows.new_tokens, rows.rows)
    lengths = rows.prompt_tokens + lengths.astype(np.int32)
    position = np.arange(time)[None, :]
    there = position < lengths[:, None]
    tokens = generator.integers(1, vocab_size, (rows.rows, time), np.int32)
    fields = {
        "tokens": np.where(there, tokens, 0),
        "completion_mask": there & (position >= rows.prompt_tokens),
        "behavior_logprobs": np.zeros((rows.rows, time), np.float32),
        "advantages": generator.standard_normal(rows.rows).astype(np.float32),
    }
    if model is not None:
        noise = rows.behavior_noise * generator.standard_normal((rows.rows, time))
        behavior = _logprobs(model, fields, rows.new_tokens) + noise
        behavior = np.where(fields["completion_mask"], behavior, 0.0)
        fields["behavior_logprobs"] = behavior.astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **fields)


def _logprobs(
    model: Qwen3, fields: Mapping[str, np.ndarray], new_tokens: int
) -> np.ndarray:
    graphdef, params = nnx.split(model, nnx.Param)
    scored = update.scorer(
        our_update.score(graphdef, new_tokens=new_tokens), micro_batch=1
    )
    batch = types.RolloutBatch(**jax.tree.map(jax.numpy.asarray, dict(fields)))
    return np.asarray(scored(params, batch))


def start(
    python: str,
    program: str,
    job: Mapping[str, Any],
    path: pathlib.Path,
    *,
    root: pathlib.Path,
) -> dict[str, Any] | str:
    """Returns what a program measures in a new process, or why there is nothing.

    Args:
      python: The interpreter.
      program: A module of `peers/`.
      job: What it is asked to do.
      path: Of its files, without an ending. What is there already is not run again.
      root: The repository.
    """
    done, task, partial, log = (
        path.with_name(f"{path.name}.{ending}")
        for ending in ("json", "job", "partial", "log")
    )
    if done.exists():
        return results.read_json(done)
    results.write_json(task, job)
    own = {
        "PYTHONPATH": str(root),
        "HF_HUB_OFFLINE": "1",
        # Several processes share an accelerator.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    command = [python, "-m", f"experiments.peers.{program}", str(task), str(partial)]
    with open(log, "w") as file:
        try:
            ended = subprocess.run(
                command, cwd=root, env=os.environ | own, stdout=file, stderr=file
            ).returncode
        except OSError as error:
            return f"{python}: {error}"
    if ended:
        said = log.read_text(errors="replace").strip().splitlines()[-1:]
        return f"ended with {ended} {' '.join(said)}".strip()
    os.replace(partial, done)
    return results.read_json(done)
