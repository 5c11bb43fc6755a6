"""Charts as inline SVG, all of them alike."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import io
from typing import Any

import markupsafe
import matplotlib
from matplotlib import pyplot as plt
from matplotlib import ticker

matplotlib.use("agg")  # no display

INK, MUTED, ACCENT = "#1f2430", "#8a8f98", "#b4532a"
LINES = (ACCENT, "#2f5d8a", "#5b7f3b", "#7a5195")
# What can become of a row, from bad to good.
OUTCOMES = {
    "unread": "#b9bcc1",
    "gated": "#6a6f78",
    "A": "#8c2f1f",
    "B": "#bf5b32",
    "C": "#dd9653",
    "D": "#e9cf8f",
    "E": "#6f9a5f",
}
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "text.parse_math": False,  # a name may hold dollar signs
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#d8d5cd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#ece9e2",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 11,
}


def with_spread(
    series: Mapping[str, Sequence[tuple[float, float, float]]], *, label: str
) -> markupsafe.Markup:
    """Draws lines in a band: (step, mean, spread) by name."""
    with _figure("spread" + label) as (axes, drawn):
        for (name, points), color in zip(series.items(), _cycle(), strict=False):
            steps, means, spreads = zip(*points, strict=True)
            low = [m - s for m, s in zip(means, spreads, strict=True)]
            high = [m + s for m, s in zip(means, spreads, strict=True)]
            axes.fill_between(steps, low, high, color=color, alpha=0.13, linewidth=0)
            axes.plot(steps, means, color=color, linewidth=1.8, label=name)
        _finish(axes, label, legend=len(series) > 1, steps=True)
    return drawn[0]


def percentages(
    series: Mapping[str, Sequence[tuple[float, float]]], *, label: str
) -> markupsafe.Markup:
    """Draws lines: (step, percentage) by name."""
    with _figure("lines" + label) as (axes, drawn):
        for (name, points), color in zip(series.items(), _cycle(), strict=False):
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, color=color, linewidth=1.8, label=name)
        axes.set_ylim(0, 103)
        _finish(axes, label, legend=len(series) > 1, steps=True)
    return drawn[0]


def shares(
    steps: Sequence[int], parts: Mapping[str, Sequence[float]]
) -> markupsafe.Markup:
    """Draws the outcomes of rows, stacked: percent by step, by key of `OUTCOMES`."""
    with _figure("shares") as (axes, drawn):
        bottom = [0.0] * len(steps)
        for name, values in parts.items():
            color = OUTCOMES[name]
            axes.bar(steps, values, 0.92, bottom, color=color, label=name, linewidth=0)
            bottom = [b + v for b, v in zip(bottom, values, strict=True)]
        axes.set_ylim(0, 100)
        _finish(axes, "% of rows", legend=False, steps=True)
        handles, names = axes.get_legend_handles_labels()
        axes.legend(
            handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5)
        )
    return drawn[0]


def bars(groups: Mapping[str, Mapping[str, float]], *, label: str) -> markupsafe.Markup:
    """Draws horizontal bars: value by item, for each group."""
    items = sorted({item for group in groups.values() for item in group}, reverse=True)
    height = max(2.6, 0.4 * len(items) * max(len(groups), 1) ** 0.5 + 0.9)
    with _figure("bars" + label, height=height) as (axes, drawn):
        width = 0.8 / max(len(groups), 1)
        for row, (name, color) in enumerate(zip(groups, _cycle(), strict=False)):
            places = [i + 0.4 - width * (row + 0.5) for i in range(len(items))]
            values = [groups[name].get(item, 0.0) for item in items]
            axes.barh(places, values, width * 0.9, color=color, label=name)
        axes.set_yticks(range(len(items)), items)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        _finish(axes, "", legend=len(groups) > 1, steps=False)
        axes.set_xlabel(label)
    return drawn[0]


def _cycle() -> Iterator[str]:
    while True:
        yield from LINES


def _finish(axes: plt.Axes, label: str, *, legend: bool, steps: bool) -> None:
    if steps:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes.set_xlabel("step")
    axes.set_title(label, loc="left", color=MUTED, fontsize=12)
    axes.tick_params(length=0)
    if legend:
        axes.legend(loc="best")


@contextlib.contextmanager
def panels(
    salt: str, *, rows: int, columns: int, size: tuple[float, float]
) -> Iterator[tuple[Any, Any, list[str]]]:
    """Yields a figure, its axes [rows, columns], and a list.

    Once the body is over the list holds the drawn SVG, a whole file.

    Args:
      salt: Names the chart: SVG ids of several charts share a page's namespace.
      rows: Of panels.
      columns: Of panels.
      size: Width and height in inches of 96 pixels.
    """
    drawn: list[str] = []
    with plt.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure, axes = plt.subplots(
            rows, columns, figsize=size, layout="constrained", squeeze=False
        )
        yield figure, axes, drawn
        buffer = io.StringIO()
        metadata = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
        plt.close(figure)
    drawn.append(buffer.getvalue())


@contextlib.contextmanager
def _figure(salt: str, *, height: float = 3.1):
    """Yields axes and a list that holds the drawn SVG once the body is over.

    Args:
      salt: See `panels`.
      height: In inches of 96 pixels; the page scales the width.
    """
    drawn: list[markupsafe.Markup] = []
    with panels(salt, rows=1, columns=1, size=(6.8, height)) as (_, axes, whole):
        yield axes[0][0], drawn
    (text,) = whole
    # matplotlib escapes the names it is given; its XML head has no place in HTML.
    drawn.append(markupsafe.Markup(text[text.index("<svg") :]))
