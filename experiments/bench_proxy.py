"""How well the learned proxy foretells what a mixture of sources leads to.

The data are training runs of RegMix (Liu et al. 2024, arXiv:2407.01492): mixtures of
the Pile's domains and the loss that each led to, at three sizes of model. A proxy is
fitted to a few of the runs at 1M and ranks mixtures that it has not seen, at 1M and at
larger sizes. Everything is chosen by cross-validation on the fitted runs alone.

"Far" mixtures are made, not measured: a single domain, and half of a domain that the
fitted runs lack. Not covered: how good predictions for them are.

`summary.json` has, each as `mean`, `std` and `by_draw`: `spearman`, by model and by
size, of the predicted loss at 1M with the measured one; `covered`, the share of test
runs at 1M within the interval; `flagged`, the share of mixtures that are called
unfamiliar: `test` runs at 1M, `corners` (single domains of which the fitted runs have
little), `absent` (half of a domain that the fitted runs lack) and `without` (runs that
lack it as well, with nothing added); `std`, the mean deviation that is predicted for
the first two of these, in nats; and `log_density`, by representation and kernel, that
of cross-validation. `chosen` has the representation and the kernel by draw.
"""

from collections.abc import Callable, Mapping, Sequence
import csv
import dataclasses
import itertools
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np
from scipy import stats
from sklearn import ensemble
from sklearn import linear_model
import tqdm

from datachef_jax.verifier import proxy
from experiments import charts
from experiments import environment
from experiments import results

_FILES = {
    "train": ("train_mixture_1m.csv", "train_pile_loss_1m.csv"),
    "1M": ("test_mixture_1m.csv", "test_pile_loss_1m.csv"),
    "60M": ("test_mixture_60m.csv", "test_pile_loss_60m.csv"),
    "1B": ("test_mixture_1B.csv", "test_pile_loss_1B.csv"),
}
SIZES = ("1M", "60M", "1B")
_PROXY, _LINEAR, _ROOTS, _BOOSTED = (
    "proxy",
    "linear regression",
    "linear, roots",
    "gradient boosting",
)
_MIXTURES = {
    "test": "test runs at 1M",
    "corners": "single domains, little of them fitted",
    "absent": "much of a domain that is lacking",
    "without": "the same runs without it",
}
_NEEDED = {"60M": "≥ 0.90", "1B": "≥ 0.85"}

REPRESENTATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shares": lambda shares: shares,
    "roots": np.sqrt,
    # The files have shares of a thousandth or more.
    "logs": lambda shares: np.log(shares + 0.01),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Training runs.

    Attributes:
      domains: What the mixtures are of.
      mixtures: The share of each domain; up to rounding they sum to 1.
      losses: What each run came to, in nats a token.
    """

    domains: tuple[str, ...]
    mixtures: Float[np.ndarray, "runs domains"]
    losses: Float[np.ndarray, " runs"]


def read(folder: pathlib.Path, target: str) -> dict[str, Runs]:
    """Reads the runs to fit, "train", and those to test by size.

    Args:
      folder: Of the files.
      target: The domain whose validation loss is asked for.

    Raises:
      ValueError: If the files do not fit each other, or have no such loss.
      OSError: If one is missing.
    """
    column = f"metric/the_pile_{target}_val_loss"
    found = {}
    for name, (mixtures, losses) in _FILES.items():
        head, mixed = _read(folder / mixtures)
        measured, values = _read(folder / losses)
        if column not in measured:
            raise ValueError(f"{losses} has no column {column!r}")
        if not np.array_equal(mixed[:, 0], values[:, 0]):
            raise ValueError(f"{mixtures} and {losses} are not of the same runs")
        found[name] = Runs(
            domains=tuple(head[1:]),
            mixtures=mixed[:, 1:],
            losses=values[:, measured.index(column)],
        )
    if len({runs.domains for runs in found.values()}) > 1:
        raise ValueError(f"the mixtures in {folder} are not of the same domains")
    return found


def _read(path: pathlib.Path) -> tuple[list[str], Float[np.ndarray, "runs columns"]]:
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return head, np.array(rows, np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchProxy:
    """The experiment.

    Attributes:
      workdir: Where everything goes.
      runs: Of `read`.
      draws: How often runs are drawn to be fitted.
      fitted: How many runs each time.
      folds: Of the cross-validation.
      candidates: What it chooses from: representation of a mixture, and settings.
      interval: The share of runs that an interval should hold.
      lacking: Fitted runs lack a domain if they have at most this share of it.
      far: The share of a domain that is much where the fitted runs have less, and
        that "absent" mixtures have of a domain that the fitted runs lack.
      seed: Of the draws.
    """

    workdir: pathlib.Path
    runs: Mapping[str, Runs]
    draws: int
    fitted: int
    folds: int
    candidates: Sequence[tuple[str, proxy.ProxySettings]]
    interval: float
    lacking: float
    far: float
    seed: int

    def run(self, record: environment.Environment) -> None:
        """Measures, prints the table, writes `summary.json` and the picture."""
        with record.stage("draws"):
            draws = [self._draw(i) for i in tqdm.trange(self.draws, desc="draws")]
        figures = [draw.figures for draw in draws]
        summary = {"chosen": [draw.chosen for draw in draws]} | _over_draws(figures)
        text = table(summary, self.runs, interval=self.interval)
        print(text)
        results.write_text(self.workdir / "table.md", text + "\n")
        picture = draw_picture(draws[0].predicted, self.runs)
        results.write_text(self.workdir / "predicted.svg", picture)
        results.write_json(self.workdir / "summary.json", summary)

    def _draw(self, index: int) -> "_Draw":
        rng = np.random.default_rng((self.seed, index))
        train = self.runs["train"]
        taken = rng.permutation(len(train.losses))[: self.fitted]
        mixtures, losses = train.mixtures[taken], train.losses[taken]
        densities = {
            candidate: self._cross_validate(candidate, mixtures, losses)
            for candidate in self.candidates
        }
        name, settings = max(densities, key=densities.get)
        represent = REPRESENTATIONS[name]
        fitted = proxy.fit(represent(mixtures), losses, settings=settings)
        predicted = {
            size: fitted.predict(represent(self.runs[size].mixtures)) for size in SIZES
        }
        test, measured = predicted["1M"], self.runs["1M"].losses
        reach = stats.norm.ppf(0.5 + self.interval / 2) * test.std
        little = mixtures.max(0) < self.far
        corners = fitted.predict(represent(np.eye(len(train.domains))[little]))
        absent, without = self._lacking(name, settings, rng)
        figures = {
            "spearman": {
                model: {size: self._rank(means[size], size) for size in SIZES}
                for model, means in {
                    _PROXY: {size: predicted[size].mean for size in SIZES},
                    **self._baselines(mixtures, losses),
                }.items()
            },
            "covered": float(np.mean(np.abs(measured - test.mean) <= reach)),
            "flagged": {
                "test": float(test.unfamiliar.mean()),
                "corners": float(corners.unfamiliar.mean()),
                "absent": absent,
                "without": without,
            },
            "std": {
                "test": float(test.std.mean()),
                "corners": float(corners.std.mean()),
            },
            "log_density": {
                _label(candidate): value for candidate, value in densities.items()
            },
        }
        chosen = _label((name, settings))
        return _Draw(chosen=chosen, figures=figures, predicted=predicted)

    def _cross_validate(
        self,
        candidate: tuple[str, proxy.ProxySettings],
        mixtures: Float[np.ndarray, "runs domains"],
        losses: Float[np.ndarray, " runs"],
    ) -> float:
        """Returns the mean log-density of runs that are held out in turn."""
        name, settings = candidate
        folds = [i % self.folds for i in range(len(losses))]  # the order is random
        made = proxy.held_out(
            REPRESENTATIONS[name](mixtures), losses, folds, settings=settings
        )
        return float(proxy.log_density(made, losses).mean())

    def _baselines(
        self,
        mixtures: Float[np.ndarray, "runs domains"],
        losses: Float[np.ndarray, " runs"],
    ) -> dict[str, dict[str, Float[np.ndarray, " runs"]]]:
        """Returns what other models predict, by model and size."""
        boosted = ensemble.GradientBoostingRegressor(random_state=self.seed)
        models = {
            _LINEAR: (linear_model.LinearRegression(), "shares"),
            _ROOTS: (linear_model.LinearRegression(), "roots"),
            _BOOSTED: (boosted, "shares"),
        }
        predicted = {}
        for model, (estimator, name) in models.items():
            represent = REPRESENTATIONS[name]
            estimator.fit(represent(mixtures), losses)
            predicted[model] = {
                size: estimator.predict(represent(self.runs[size].mixtures))
                for size in SIZES
            }
        return predicted

    def _rank(self, predicted: Float[np.ndarray, " runs"], size: str) -> float:
        return float(stats.spearmanr(predicted, self.runs[size].losses).statistic)

    def _lacking(
        self, name: str, settings: proxy.ProxySettings, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Returns the shares that are flagged by proxies that lack a domain each.

        Returns:
          Of runs to which the domain is added, and of the same runs without it.
        """
        train, represent = self.runs["train"], REPRESENTATIONS[name]
        absent, without = [], []
        for domain, only in enumerate(np.eye(len(train.domains))):
            lacking = rng.permutation(
                np.flatnonzero(train.mixtures[:, domain] <= self.lacking)
            )
            taken, others = lacking[: self.fitted], lacking[self.fitted :]
            fitted = proxy.fit(
                represent(train.mixtures[taken]), train.losses[taken], settings=settings
            )
            mixtures = train.mixtures[others]
            added = self.far * only + (1 - self.far) * mixtures
            absent.append(fitted.predict(represent(added)).unfamiliar.mean())
            without.append(fitted.predict(represent(mixtures)).unfamiliar.mean())
        return float(np.mean(absent)), float(np.mean(without))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Draw:
    """What came of one draw."""

    chosen: str
    figures: Mapping[str, Any]
    predicted: Mapping[str, proxy.Prediction]


def _label(candidate: tuple[str, proxy.ProxySettings]) -> str:
    return f"{candidate[0]}, {candidate[1].kernel}"


def _over_draws(figures: Sequence[Any]) -> dict[str, Any]:
    """Returns mean and standard deviation of each leaf of alike nested dicts."""
    if isinstance(figures[0], Mapping):
        names = figures[0]
        return {name: _over_draws([each[name] for each in figures]) for name in names}
    spread = float(np.std(figures, ddof=1)) if len(figures) > 1 else 0.0
    return {"mean": float(np.mean(figures)), "std": spread, "by_draw": list(figures)}


def table(
    summary: Mapping[str, Any], runs: Mapping[str, Runs], *, interval: float
) -> str:
    """Returns the figures as a Markdown table: mean ± standard deviation of draws."""
    models = list(summary["spearman"])
    lines = [
        f"| mean ± deviation of {len(summary['chosen'])} draws | {' | '.join(models)} "
        "| needed |",
        "|---|" + "---:|" * (len(models) + 1),
    ]
    for size in SIZES:
        cells = [_cell(summary["spearman"][model][size], 1, 3) for model in models]
        label = f"Spearman, {len(runs[size].losses)} runs at {size}"
        lines.append(_line(label, cells, _NEEDED.get(size, "")))
    label = f"% of runs at 1M in the {100 * interval:.0f} % interval"
    low, high = 100 * interval - 5, 100 * interval + 5
    needed = f"{low:.0f} to {high:.0f}"
    none = ["–"] * (len(models) - 1)
    lines.append(_line(label, [_cell(summary["covered"], 100, 1), *none], needed))
    for name, label in _MIXTURES.items():
        cell = _cell(summary["flagged"][name], 100, 1)
        lines.append(_line(f"% flagged: {label}", [cell, *none], ""))
    for name, figure in summary["std"].items():
        label = f"deviation predicted, nats: {_MIXTURES[name]}"
        lines.append(_line(label, [_cell(figure, 1, 3), *none], ""))
    counts = {name: summary["chosen"].count(name) for name in summary["log_density"]}
    chosen = ", ".join(f"{name} ({n})" for name, n in counts.items() if n)
    return "\n".join([*lines, "", f"Chosen by cross-validation: {chosen}."])


def _line(label: str, cells: Sequence[str], needed: str) -> str:
    return f"| {label} | {' | '.join(cells)} | {needed} |"


def _cell(figure: Mapping[str, Any], times: float, digits: int) -> str:
    mean, std = times * figure["mean"], times * figure["std"]
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def draw_picture(
    predicted: Mapping[str, proxy.Prediction], runs: Mapping[str, Runs]
) -> str:
    """Returns an SVG: the loss predicted for 1M against the one measured, by size."""
    shape = dict(rows=1, columns=len(SIZES), size=(10, 3.4))
    with charts.panels("proxy", **shape) as (_, panels, drawn):
        for axes, size in zip(panels[0], SIZES, strict=True):
            made, measured = predicted[size], runs[size].losses
            for flagged, color, label in (
                (False, charts.ACCENT, "familiar"),
                (True, charts.MUTED, "unfamiliar"),
            ):
                those = made.unfamiliar == flagged
                axes.errorbar(
                    made.mean[those],
                    measured[those],
                    xerr=made.std[those],
                    fmt="o",
                    markersize=3,
                    elinewidth=0.4,
                    color=color,
                    label=label,
                )
            axes.set_title(f"measured at {size}", loc="left")
            axes.set_xlabel("predicted for 1M, ± one deviation")
        panels[0][0].set_ylabel("loss, nats a token")
        panels[0][0].legend()
    return drawn[0]


def candidates(
    representations: Sequence[str],
    kernels: Sequence[str],
    settings: Mapping[str, float],
) -> list[tuple[str, proxy.ProxySettings]]:
    """Returns all pairs of a representation and a kernel.

    Raises:
      ValueError: If a representation, a kernel or a setting cannot be.
    """
    for name in representations:
        if name not in REPRESENTATIONS:
            known = sorted(REPRESENTATIONS)
            raise ValueError(f"representations must be of {known}, got {name!r}")
    return [
        (name, proxy.ProxySettings(kernel=kernel, **settings))
        for name, kernel in itertools.product(representations, kernels)
    ]
