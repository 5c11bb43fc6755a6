"""The training loop: steps, what they leave on disk, and how a killed run goes on."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import grain
import tqdm

from datachef_jax import types
from datachef_jax.training import checkpoint
from datachef_jax.training import metrics
from datachef_jax.training import preemption
from datachef_jax.training import rollouts
from datachef_jax.training import unfinished
from datachef_jax.training.state import TrainState
from datachef_jax.training.step import StepRecord

Step = Callable[
    [
        TrainState,
        Callable[[], Sequence[types.Task]],
        Callable[[], None],
        unfinished.Unfinished,
    ],
    tuple[TrainState, StepRecord],
]
"""`step.train_step` with all but its first four arguments bound."""


def run(
    state: TrainState,
    *,
    tasks: grain.DatasetIterator,
    step: Step,
    steps: int,
    workdir: str | os.PathLike,
    checkpoints: str | os.PathLike,
    every_steps: int,
    keep: int,
    hacking: Callable[[Sequence[float], Sequence[float]], bool],
) -> TrainState:
    """Trains up to `steps` steps, from the latest checkpoint if there is any.

    A run that is killed at any moment and started again leaves the same metrics,
    rollouts and weights as one that was not: whatever lies behind the checkpoint is
    dropped and done again, with randomness that depends on the step alone.

    Args:
      state: Before the first step. Given up, also if a checkpoint replaces it.
      tasks: Yields the tasks of each round of sampling; Grain keeps its position.
      step: Does one step.
      steps: In all.
      workdir: Gets `metrics.jsonl`, `timing.jsonl`, `events.jsonl` (what went wrong
        and was survived), `unfinished.json`, `tensorboard/` and
        `rollouts/step_*.jsonl`.
      checkpoints: Gets `step_*`; of a run of several processes all must see it.
      every_steps: Steps between checkpoints; there is always one after the last.
      keep: Checkpoints to keep.
      hacking: `alarm.hacking` with its settings bound. The metric `alarm/hacking` says
        of each step whether it went off; it does not stop the run.

    Returns:
      The state after the last step.

    Raises:
      FloatingPointError: If an update is not finite; names the step and the metric.
        The checkpoints stay as they are.
      Preempted: After a SIGTERM, when all that is done has been saved.
      ValueError: If there are checkpoints but none is intact.
    """
    workdir = pathlib.Path(workdir)
    (workdir / "rollouts").mkdir(parents=True, exist_ok=True)
    state = _resume(state, tasks, workdir, pathlib.Path(checkpoints))
    saved, notice = state.step, preemption.Notice()
    kept = unfinished.Unfinished(workdir / "unfinished.json")
    with (
        contextlib.closing(metrics.Writer(workdir, step=state.step)) as writer,
        tqdm.tqdm(total=steps, initial=state.step, desc="train", unit="step") as bar,
        notice.listening(),
        checkpoint.Saver(checkpoints, keep=keep) as saver,
    ):
        history = metrics.read(workdir / "metrics.jsonl")  # the writer has cut it
        while state.step < steps:
            number, position = state.step, tasks.get_state()
            try:
                state, record = step(state, lambda: next(tasks), notice, kept)
            except FloatingPointError as error:
                raise FloatingPointError(f"step {number}: {error}") from error
            except preemption.Preempted:
                if saved < state.step:
                    _save(saver, state, position)
                raise
            rollouts.write(_rollouts(workdir, number), record.rollouts)
            figures = _watched(record.metrics, history, hacking)
            writer.write(number, figures, record.seconds)
            if state.step % every_steps == 0 or state.step == steps:
                _save(saver, state, tasks.get_state())
                saved = state.step
            bar.set_postfix(
                executable=f"{record.metrics['recipe/executable']:.0%}",
                reward=f"{record.metrics.get('reward/mean', math.nan):.3f}",
            )
            bar.update()
    return state


def _watched(
    figures: Mapping[str, float],
    history: list[Mapping[str, float]],
    hacking: Callable[[Sequence[float], Sequence[float]], bool],
) -> dict[str, float]:
    """Adds a step to the history, and whether the alarm goes off to its figures."""
    if "dvs/held_out" not in figures:
        return dict(figures)
    history.append(figures)
    scores = [
        [step.get(name, math.nan) for step in history]
        for name in ("dvs/gated", "dvs/held_out")
    ]
    alarmed = hacking(*scores)
    before = any(step.get("alarm/hacking", 0.0) for step in history)
    history[-1] = figures | {"alarm/hacking": float(alarmed)}
    if alarmed and not before:
        tqdm.tqdm.write(
            "ALARM: the judge's scores rise, those of the held-out judge do not: the "
            "policy may be hacking its reward (metrics dvs/gated, dvs/held_out)"
        )
    return dict(history[-1])


def _save(
    saver: checkpoint.Saver, state: TrainState, position: Mapping[str, Any]
) -> None:
    arrays = {"params": state.params, "opt_state": state.opt_state}
    saver.save(state.step, arrays, {"tasks": position})


def _resume(
    state: TrainState,
    tasks: grain.DatasetIterator,
    workdir: pathlib.Path,
    checkpoints: pathlib.Path,
) -> TrainState:
    """Returns the state to go on from and drops rollouts that lie behind it."""
    like = {"params": state.params, "opt_state": state.opt_state}
    restored = checkpoint.restore_latest(checkpoints, like)
    for bad in restored.skipped:
        tqdm.tqdm.write(f"checkpoint {bad.name} is damaged: {bad.reason}")
        with (workdir / "events.jsonl").open("a", encoding="utf-8") as file:
            event = {"event": "damaged checkpoint"} | dataclasses.asdict(bad)
            file.write(json.dumps(event, sort_keys=True) + "\n")
    if restored.arrays is not None:
        state = TrainState(step=restored.step, **restored.arrays)
        tasks.set_state(restored.position["tasks"])
        tqdm.tqdm.write(f"going on after {state.step} steps")
    kept = {_rollouts(workdir, number) for number in range(state.step)}
    for path in (workdir / "rollouts").iterdir():
        if path not in kept:
            path.unlink()
    return state


def _rollouts(workdir: pathlib.Path, number: int) -> pathlib.Path:
    return workdir / "rollouts" / f"step_{number:04d}.jsonl"
