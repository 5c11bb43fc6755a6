"""Records of what happened to each completion, and the statistics of a step.

Both hold only what the seed determines. How long a script ran and how much memory it
took stay out: they differ between two runs of the same seed.
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
import pathlib
from typing import Any

from jaxtyping import Bool, Float
import numpy as np

from datachef_jax import types


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rollout:
    """One completion and what became of it; every field is plain JSON.

    Attributes:
      task: Name of the task.
      prompt: As text, with the chat template.
      completion: The recipe as text.
      spoken: What the policy wrote, was told, wrote and so on, if it wrote more than
        one answer.
      tokens: Length of the completion: end tokens, and what it was told, included.
      finished: False if it was cut at the length limit.
      execution: `Execution.kind`: how the script ended.
      log: End of what the script printed, or why no recipe could be read.
      verification: How the verification script ended, "" if it did not run.
      num_rows: Rows with the right schema that it wrote.
      malformed: Rows with a wrong one.
      calls: Toolkit calls in order: function, rows in, rows out.
      outcome: `Verdict.outcome`.
      score: Verifier's score in [0, 1], with gates.
      interval: Ends of its 90 % bootstrap interval.
      judge_score: The score without gates.
      held_out_score: The score by the judge that is never rewarded; None without one.
      forecast: Of the learned proxy, see `types.Forecast`; None without one.
      factors: Multiplier of each gate on the whole set.
      gates: Rows of the draw stopped by each row gate.
      found: Rows of the whole set that each set gate found.
      note: Verifier's remark.
      rows: Drawn rows, each {"index", "row", "gate", "grade", "score"}.
      reward: None if there is none, through a fault of ours.
      advantage: Within its group.
    """

    task: str
    prompt: str
    completion: str
    tokens: int
    finished: bool
    execution: str
    log: str
    verification: str
    num_rows: int
    malformed: int
    calls: Sequence[Sequence[Any]]
    outcome: str
    score: float
    interval: Sequence[float]
    judge_score: float
    held_out_score: float | None
    factors: Mapping[str, float]
    gates: Mapping[str, int]
    found: Mapping[str, int]
    note: str
    rows: Sequence[Mapping[str, Any]]
    reward: float | None
    advantage: float
    spoken: Sequence[str] = dataclasses.field(default_factory=list)
    forecast: Mapping[str, Any] | None = None


def record(
    task: types.Task,
    completion: types.Completion,
    execution: types.Execution,
    verdict: types.Verdict,
    *,
    prompt: str,
    text: str,
    spoken: Sequence[str],
    reward: float | None,
    advantage: float,
) -> Rollout:
    """Gathers what the stages said about one completion; see `Rollout`."""
    return Rollout(
        task=task.name,
        prompt=prompt,
        completion=text,
        tokens=len(completion.tokens),
        finished=completion.finished,
        execution=execution.kind,
        log=execution.log,
        verification=execution.verification,
        num_rows=len(execution.dataset.rows),
        malformed=execution.dataset.malformed,
        calls=[list(call) for call in execution.calls],
        outcome=verdict.outcome,
        score=verdict.score,
        interval=list(verdict.interval),
        judge_score=verdict.judge_score,
        held_out_score=verdict.held_out_score,
        factors=dict(verdict.factors),
        gates=dict(verdict.gates),
        found=dict(verdict.found),
        note=verdict.note,
        rows=[
            dataclasses.asdict(graded) | {"row": execution.dataset.rows[graded.index]}
            for graded in verdict.rows
        ],
        reward=reward,
        advantage=advantage,
        spoken=list(spoken) if completion.told else [],
        forecast=verdict.forecast and dataclasses.asdict(verdict.forecast),
    )


def statistics(
    executions: Sequence[types.Execution],
    verdicts: Sequence[types.Verdict],
    completions: Sequence[types.Completion],
    rewards: Float[np.ndarray, "prompts group"],
    valid: Bool[np.ndarray, "prompts group"],
) -> dict[str, float]:
    """Summarizes a step.

    Returns:
      By name:
        reward/mean, reward/std: over all completions that have a reward.
        reward/group_std: mean standard deviation within a group; 0 teaches nothing.
        reward/unscored: share without a reward, through a fault of ours.
        dvs/gated, dvs/judge: mean verifier score x 100 with and without gates; a
          recipe without valid data counts 0, an unscored one not at all.
        recipe/executable: share of scripts that ended well and left any line.
        recipe/rows: mean number of rows with the right schema.
        ended/<kind>: share of each kind of ending.
        dvs/held_out: the same by the judge that is never rewarded.
        forecast/bound: mean bound of the learned proxy x 100, over scored recipes;
        forecast/unfamiliar: share of these that are unlike all that it knows.
        grade/<A..E>, grade/gated, grade/unread: shares of all drawn rows.
        calls/<function>: toolkit calls per recipe; functions never called are absent.
        length/mean, length/max: of the completions, in tokens.
        length/cut: share cut at the limit.
        length/answers: mean number of answers in which a recipe was written.
      What has no value, such as the mean of no reward, is left out.
    """
    count = len(executions)
    kinds = collections.Counter(execution.kind for execution in executions)
    calls = collections.Counter(c[0] for e in executions for c in e.calls)
    data = [execution.dataset for execution in executions]
    lengths = [len(completion.tokens) for completion in completions]
    summary = {
        "reward/unscored": 1.0 - valid.mean(),
        "recipe/executable": np.mean(
            [
                e.kind == "ok" and len(d.rows) + d.malformed > 0
                for e, d in zip(executions, data, strict=True)
            ]
        ),
        "recipe/rows": np.mean([len(d.rows) for d in data]),
        "length/mean": np.mean(lengths),
        "length/max": max(lengths),
        "length/cut": np.mean([not completion.finished for completion in completions]),
        "length/answers": np.mean([1 + len(c.told) for c in completions]),
        **{f"ended/{kind}": times / count for kind, times in kinds.items()},
        **{f"calls/{name}": times / count for name, times in calls.items()},
        **_grades([row for verdict in verdicts for row in verdict.rows]),
    }
    if valid.any():
        scored = [v for v in verdicts if v.outcome != "unscored"]
        summary |= {
            "reward/mean": rewards.mean(where=valid),
            "reward/std": rewards.std(where=valid),
            "reward/group_std": np.mean(
                [
                    group[present].std()
                    for group, present in zip(rewards, valid, strict=True)
                    if present.any()
                ]
            ),
            "dvs/gated": 100 * np.mean([_score(v, v.score) for v in scored]),
            "dvs/judge": 100 * np.mean([_score(v, v.judge_score) for v in scored]),
        }
        held_out = [v.held_out_score for v in scored if v.held_out_score is not None]
        if held_out:
            without = sum(v.outcome != "scored" for v in scored)
            summary["dvs/held_out"] = 100 * sum(held_out) / (len(held_out) + without)
        if forecasts := [v.forecast for v in scored if v.forecast is not None]:
            summary["forecast/bound"] = 100 * np.mean([f.bound for f in forecasts])
            summary["forecast/unfamiliar"] = np.mean([f.unfamiliar for f in forecasts])
    return {name: float(value) for name, value in summary.items()}


def write(path: str | os.PathLike, rollouts: Sequence[Rollout]) -> None:
    """Writes one JSON object a line; the file is complete or not there at all."""
    path = pathlib.Path(path)
    unfinished = path.with_name(path.name + ".tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        for rollout in rollouts:
            file.write(json.dumps(dataclasses.asdict(rollout), sort_keys=True) + "\n")
    os.replace(unfinished, path)


def read(path: str | os.PathLike) -> list[Rollout]:
    """Reads what `write` wrote."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return [Rollout(**json.loads(line)) for line in lines]


def _score(verdict: types.Verdict, score: float) -> float:
    return score if verdict.outcome == "scored" else 0.0


def _grades(rows: Sequence[types.GradedRow]) -> dict[str, float]:
    """Returns the share of each grade; nothing if no row was drawn."""
    if not rows:
        return {}
    names = collections.Counter(
        "gated" if row.gate else row.grade or "unread" for row in rows
    )
    listed = ("A", "B", "C", "D", "E", "gated", "unread")
    return {f"grade/{name}": names[name] / len(rows) for name in listed}
