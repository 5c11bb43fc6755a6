"""The figures of `bench_verifier.py` as Markdown."""

from collections.abc import Mapping
from typing import Any

from experiments import table

_HEAD = (
    "program", "batch", "seconds", "CPU-seconds", "rows a second", "CPU-ms a row",
    "times batched", "in CPU", "peak GiB", "processes", "versions",
)  # fmt: skip


def page(summary: Mapping[str, Any]) -> str:
    """Returns a table for each setting, and what is said below them.

    Args:
      summary: See `bench_verifier.py`.
    """
    said = [_section(name, one) for name, one in summary["settings"].items()]
    steps = summary["steps"]
    said.append(
        f"A GRPO step takes {steps['seconds']:.2f} s and {steps['cpu_seconds']:.2f} "
        f"CPU-seconds (mean of {steps['steps']}); verifying alone "
        f"{steps['alone_seconds']:.2f} s and {steps['alone_cpu_seconds']:.2f} "
        f"CPU-seconds: {steps['cpu_share']:.1%} of the CPU-seconds, "
        f"{steps['alone_share']:.1%} of the wall time. Among the other stages it takes "
        f"{steps['stage_share']:.1%} of the wall time, waiting included.\n"
    )
    tried = [
        f"{name} {'–' if isinstance(cost, str) else f'{cost:.1f}'}"
        for name, cost in summary["tried"].items()
    ]
    said.append(f"CPU-seconds of the first round: {', '.join(tried)}.\n")
    return "\n".join(said)


def _section(name: str, one: Mapping[str, Any]) -> str:
    asked, total = one["asked"], sum(one["stages"].values())
    lines = [
        _HEAD,
        *(
            _cells(program, figures, one["times"].get(program))
            for program, figures in one["figures"].items()
        ),
    ]
    shares = [f"{stage} {cpu / total:.0%}" for stage, cpu in one["stages"].items()]
    return (
        f"**{name}**: {asked['rows']} rows in {asked['datasets']} datasets, "
        f"{asked['drawn']} drawn, {asked['judged']} judged, {asked['prompts']} of them "
        f"different, {asked['tokens']:.0f} tokens each, of which our engine reads "
        f"{one['read_share']:.0%}; grades differ by {one['apart']:.1e} at most\n\n"
        f"{table.markdown(lines)}\n"
        f"CPU of the verifier: {', '.join(shares)}.\n"
    )


def _cells(
    program: str, figures: Mapping[str, Any], faster: Mapping[str, float] | None
) -> list[str]:
    cells = [program, str(figures["rows"] or "–")]
    if "not_measured" in figures:
        return cells + ["–"] * 8 + [figures["not_measured"]]
    return [
        *cells,
        f"{figures['seconds']:.2f}",
        f"{figures['cpu_seconds']:.2f}",
        f"{figures['per_second']:.1f}",
        f"{1000 / figures['per_cpu_second']:.2f}",
        f"{faster['per_second']:.2f}" if faster else "–",
        f"{faster['per_cpu_second']:.2f}" if faster else "–",
        f"{figures['peak_gib']:.2f}",
        str(figures["processes"]),
        ", ".join(f"{k} {v}" for k, v in figures["versions"].items()),
    ]
