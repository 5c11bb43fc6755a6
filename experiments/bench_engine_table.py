"""The figures of `bench_engine.py` as Markdown."""

from collections.abc import Mapping
from typing import Any

_HEAD = (
    "program", "rows", "seconds", "CPU-seconds", "answered", "per CPU-second",
    "per second", "peak GiB", "GiB above weights", "host share", "floor GiB/s",
    "compile CPU-s", "agreement", "versions",
)  # fmt: skip
_NAMES = {
    "ours_without_prefix": "ours, no shared prefix",
    "continuous": "transformers, continuous",
}


def table(summary: Mapping[str, Any]) -> str:
    """Returns one table for each workload.

    Args:
      summary: See `bench_engine.summarize`.
    """
    parts = []
    for workload, programs in summary["workloads"].items():
        floor = summary["floor_gib"][workload]
        unit = "rows are scored" if floor is None else "new tokens are asked for"
        moved = "" if floor is None else f"; at least {floor:.1f} GiB are moved"
        answered = {one.get("answered") for one in programs.values()} - {None}
        parts += [f"**{workload}**: {min(answered, default='no')} {unit}{moved}", ""]
        parts += [f"| {' | '.join(_HEAD)} |", "|---|" + "---:|" * 12 + "---|"]
        for program, one in programs.items():
            parts.append(f"| {' | '.join(_cells(program, one))} |")
        parts.append("")
    tried = [f"{name} {_cost(cost)}" for name, cost in summary["tried"].items()]
    parts.append(f"CPU-seconds of the first round: {', '.join(tried)}.")
    return "\n".join(parts)


def _cells(program: str, one: Mapping[str, Any]) -> list[str]:
    cells = [_NAMES.get(program, program), str(one["rows"])]
    if "not_measured" in one:
        return cells + ["–"] * 11 + [one["not_measured"]]
    return cells + [
        f"{one['seconds']:.2f}",
        f"{one['cpu_seconds']:.2f}",
        str(one["answered"]),
        f"{one['per_cpu_second']:.2f}",
        f"{one['per_second']:.2f}",
        f"{one['peak_gib']:.2f}",
        f"{one['above_weights_gib']:.2f}",
        "–" if one["host_share"] is None else f"{one['host_share']:.1%}",
        _or_dash(one["floor_gib_per_second"]),
        f"{one['warm_up_cpu_seconds']:.1f}",
        _agreement(one.get("agreement", {})),
        ", ".join(f"{k} {v}" for k, v in one["versions"].items()),
    ]


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _agreement(found: Mapping[str, float]) -> str:
    words = [f"{found['tokens']:.0%}"] if "tokens" in found else []
    words += [f"{found['nats']:.1e} nats"] if "nats" in found else []
    return ", ".join(words) or "–"


def _cost(cost: float | str) -> str:
    return "–" if isinstance(cost, str) else f"{cost:.1f}"
