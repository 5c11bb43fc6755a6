"""The learned proxy: predicts a downstream score from features of a recipe.

A Gaussian process (Rasmussen and Williams 2006, chapters 2 and 5) on standardised
features. Its standard deviation is that of a score yet to be measured, noise included,
so that `mean - k std` is a reward that a policy cannot raise by leaving what was
measured. The features may be those of `verifier.metadata`, or any others.

There is nothing to update: as results arrive, `fit` is called with all of them.

Not covered: very few results. The kernel's numbers are taken as known once they are
fitted, so that the 90 % intervals hold 74 % of new runs with 8 fitted ones, and
88 % with 16, 32 and 64; with 8 a linear regression ranks better, by 0.74 to 0.45
(`experiments/run.py --config=configs/bench/proxy.py --config.fitted=8` and so on).
"""

from collections.abc import Hashable, Sequence
import dataclasses
import functools
import json
import math
import pathlib
import warnings
import zipfile

from jaxtyping import Bool
from jaxtyping import Float
import numpy as np
from scipy.spatial import distance as distances
from sklearn import exceptions
from sklearn import gaussian_process
from sklearn.gaussian_process import kernels
import threadpoolctl

_LENGTHS = (1e-1, 1e3)  # bounds, in standard deviations of a feature
_VARIANCES = (1e-2, 1e2)  # bounds, in variances of the scores
_NOISES = (1e-5, 1.0)  # likewise
# Over matrices this small, threads would mostly wait for one another.
_ALONE = threadpoolctl.threadpool_limits.wrap(limits=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """The numbers of the proxy.

    Attributes:
      kernel: "rbf" or "matern" (5/2), which share one length over all features, or
        "rbf_by_feature", which has a length for each and needs many more results.
      prior_std: Standard deviation of a score about which nothing is known, in the
        unit of the scores: what is said while there is nothing to learn from.
      unfamiliar_share: Of recipes like the fitted ones, how many may be called
        unlike them.
    """

    kernel: str
    prior_std: float
    unfamiliar_share: float

    def __post_init__(self):
        if self.kernel not in _KERNELS:
            known = sorted(_KERNELS)
            raise ValueError(f"kernel must be one of {known}, got {self.kernel!r}")
        if not self.prior_std > 0 or not math.isfinite(self.prior_std):
            raise ValueError(f"prior_std must be above 0, got {self.prior_std}")
        if not 0 < self.unfamiliar_share < 1:
            raise ValueError(
                f"unfamiliar_share must be in (0, 1), got {self.unfamiliar_share}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What is expected of some recipes.

    Attributes:
      mean: Of the score, in its unit.
      std: Of a measurement of it, likewise.
      unfamiliar: Whether a recipe is unlike all that were fitted.
      distance: To the nearest fitted recipe, in standard deviations of the features;
        infinite where a feature differs that was the same in all of them.
    """

    mean: Float[np.ndarray, " recipes"]
    std: Float[np.ndarray, " recipes"]
    unfamiliar: Bool[np.ndarray, " recipes"]
    distance: Float[np.ndarray, " recipes"]


def reward(prediction: Prediction, k: float) -> Float[np.ndarray, " recipes"]:
    """Returns `mean - k std`, a bound below which a score is unlikely to fall.

    Args:
      prediction: Of scores of which higher ones are better.
      k: At least 0; 1.28 leaves one score in ten below, if they are normal.

    Raises:
      ValueError: If k is below 0: it would reward what is not known.
    """
    if not k >= 0:
        raise ValueError(f"k must be at least 0, got {k}")
    return prediction.mean - k * prediction.std


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Proxy:
    """A fitted proxy: a value, made by `fit` and never changed.

    Attributes:
      features: Of the fitted recipes.
      scores: What was measured of them.
      theta: Natural logarithms of the kernel's numbers, in scikit-learn's order;
        none where the scores are all equal.
      settings: The numbers.
    """

    features: Float[np.ndarray, "recipes features"]
    scores: Float[np.ndarray, " recipes"]
    theta: Float[np.ndarray, " numbers"]
    settings: ProxySettings

    def __post_init__(self):
        for array in (self.features, self.scores, self.theta):
            array.setflags(write=False)

    def predict(self, features: Float[np.ndarray, "others features"]) -> Prediction:
        """Returns what is expected of other recipes.

        A feature that was the same in all fitted recipes has no scale. Where it
        differs now, nothing is known: the prediction is that of no results nearby.

        A recipe is unfamiliar if its distance to the nearest fitted one is above that
        of all but a share of the fitted recipes to their nearest other (a conformal
        p-value, Vovk et al. 2005, section 2.2; repeated recipes count once). With
        fewer recipes than that share can be told of, it must be above all of them.

        Args:
          features: In the columns that were fitted.

        Raises:
          ValueError: If they are not finite, or not as many as were fitted.
        """
        _check_features(features)
        if features.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"{self.features.shape[1]} features were fitted, got "
                f"{features.shape[1]}"
            )
        scaled, known = self._scaled(features)
        nearest = distances.cdist(scaled, self._fitted).min(1)
        apart = np.where(known, nearest, np.inf)
        mean, std = self._expected(scaled)
        prior_mean, prior_std = self._prior()
        return Prediction(
            mean=np.where(known, mean, prior_mean),
            std=np.where(known, std, prior_std),
            unfamiliar=self._unfamiliar(apart),
            distance=apart,
        )

    def save(self, path: pathlib.Path) -> None:
        """Writes an .npz file of numbers and one line of JSON: nothing that runs."""
        settings = json.dumps(dataclasses.asdict(self.settings))
        with open(path, "wb") as file:
            np.savez(
                file,
                features=self.features,
                scores=self.scores,
                theta=self.theta,
                settings=np.array(settings),
            )

    def _scaled(
        self, features: Float[np.ndarray, "others features"]
    ) -> tuple[Float[np.ndarray, "others varied"], Bool[np.ndarray, " others"]]:
        """Standardises features by the fitted ones.

        Returns:
          Those that vary among the fitted recipes, and whether all others are as in
          them.
        """
        low, high = self.features.min(0), self.features.max(0)
        # Where only rounding differs, dividing by the deviation would blow it up.
        same = np.isclose(low, high, rtol=1e-9, atol=1e-12)
        known = np.isclose(features[:, same], low[same], rtol=1e-9, atol=1e-12).all(1)
        fitted = self.features[:, ~same]
        return (features[:, ~same] - fitted.mean(0)) / fitted.std(0), known

    @functools.cached_property
    def _fitted(self) -> Float[np.ndarray, "recipes varied"]:
        return self._scaled(self.features)[0]

    @functools.cached_property
    def _process(self) -> gaussian_process.GaussianProcessRegressor:
        kernel = _kernel(self.settings.kernel, self._fitted.shape[1])
        return gaussian_process.GaussianProcessRegressor(
            kernel.clone_with_theta(self.theta), optimizer=None, normalize_y=True
        ).fit(self._fitted, self.scores)

    @_ALONE
    def _expected(
        self, scaled: Float[np.ndarray, "others varied"]
    ) -> tuple[Float[np.ndarray, " others"], Float[np.ndarray, " others"]]:
        if not len(self.theta) or not len(scaled):
            mean, std = self._prior()
            return np.full(len(scaled), mean), np.full(len(scaled), std)
        return self._process.predict(scaled, return_std=True)

    def _prior(self) -> tuple[float, float]:
        """Returns mean and standard deviation far from all that was fitted."""
        mean, std = float(self.scores.mean()), float(self.scores.std())
        if not len(self.theta):
            return mean, max(std, self.settings.prior_std)
        prior = self._process.kernel_.diag(np.zeros((1, 1))).item()
        return mean, std * math.sqrt(prior)

    def _unfamiliar(
        self, apart: Float[np.ndarray, " others"]
    ) -> Bool[np.ndarray, " others"]:
        distinct = np.unique(self._fitted, axis=0)
        if len(distinct) == 1:
            return apart > 0
        between = distances.cdist(distinct, distinct)
        np.fill_diagonal(between, np.inf)
        own = between.min(1)
        as_far = 1 + (own[None, :] >= apart[:, None]).sum(1)
        # Rounding must not make a p-value of exactly the share one above it.
        share = max(self.settings.unfamiliar_share, 1 / (len(own) + 1))
        return as_far <= share * (len(own) + 1) + 1e-9


@_ALONE
def fit(
    features: Float[np.ndarray, "recipes features"],
    scores: Float[np.ndarray, " recipes"],
    *,
    settings: ProxySettings,
) -> Proxy:
    """Fits the proxy to all results so far.

    The kernel's numbers are those of the highest marginal likelihood. While all scores
    are equal, or all recipes, there is nothing to learn, and the proxy says so: the
    mean score, give or take `settings.prior_std` or more, for every recipe.

    Args:
      features: Of each recipe; several results of one recipe are several rows.
      scores: Measured downstream scores, in any unit.
      settings: The numbers.

    Raises:
      ValueError: If there is nothing to fit, or a value is not finite.
    """
    _check_features(features)
    if 0 in features.shape or len(features) != len(scores):
        raise ValueError(
            "recipes and features must be at least 1, and scores as many as recipes: "
            f"got features of shape {features.shape} and {len(scores)} scores"
        )
    if not np.isfinite(scores).all():
        at = int(np.argmin(np.isfinite(scores)))
        raise ValueError(f"scores must be finite, got {scores[at]} at row {at}")
    features, scores = (np.array(each, np.float64) for each in (features, scores))
    unfitted = Proxy(
        features=features, scores=scores, theta=np.zeros(0), settings=settings
    )
    same = np.isclose(scores.min(), scores.max(), rtol=1e-9, atol=1e-12)
    if same or unfitted._fitted.shape[1] == 0:
        return unfitted
    process = gaussian_process.GaussianProcessRegressor(
        _kernel(settings.kernel, unfitted._fitted.shape[1]),
        normalize_y=True,
    )
    with warnings.catch_warnings():
        # A number at its bound is one that the scores say nothing about.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        process.fit(unfitted._fitted, scores)
    return dataclasses.replace(unfitted, theta=process.kernel_.theta)


def load(path: pathlib.Path) -> Proxy:
    """Reads what `Proxy.save` wrote.

    Raises:
      ValueError: If it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("features", "scores", "theta")}
            settings = ProxySettings(**json.loads(str(file["settings"])))
    except (KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no proxy: {error}") from error
    return Proxy(**arrays, settings=settings)


def held_out(
    features: Float[np.ndarray, "recipes features"],
    scores: Float[np.ndarray, " recipes"],
    groups: Sequence[Hashable],
    *,
    settings: ProxySettings,
) -> Prediction:
    """Predicts each group of recipes by a proxy that is fitted to all others.

    Args:
      features: Of each recipe.
      scores: Of each.
      groups: What each belongs to: a fold, or its task.
      settings: The numbers.

    Raises:
      ValueError: If there are fewer than two groups.
    """
    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        raise ValueError(f"at least 2 groups are needed, got {names}")
    order, made = [], []
    for name in names:
        out = np.array([group == name for group in groups])
        fitted = fit(features[~out], scores[~out], settings=settings)
        made.append(fitted.predict(features[out]))
        order.append(np.flatnonzero(out))
    back = np.argsort(np.concatenate(order))
    return Prediction(
        **{
            field.name: np.concatenate([getattr(p, field.name) for p in made])[back]
            for field in dataclasses.fields(Prediction)
        }
    )


def log_density(
    prediction: Prediction, scores: Float[np.ndarray, " recipes"]
) -> Float[np.ndarray, " recipes"]:
    """Returns how likely the scores were, in nats: what a proxy is chosen by.

    Unlike a rank correlation it also falls with intervals that are too narrow or too
    wide (a proper score, Gneiting and Raftery 2007).
    """
    off = (scores - prediction.mean) / prediction.std
    return -0.5 * off**2 - np.log(prediction.std) - 0.5 * math.log(2 * math.pi)


def _check_features(features: Float[np.ndarray, "recipes features"]) -> None:
    if not np.isfinite(features).all():
        row, column = np.argwhere(~np.isfinite(features))[0]
        value = features[row, column]
        raise ValueError(
            f"features must be finite, got {value} at row {row}, column {column}"
        )


def _kernel(name: str, features: int) -> kernels.Kernel:
    """Returns a kernel whose numbers are yet to be found."""
    # The usual distance between two recipes, with deviations of 1, is sqrt(2 features).
    start = math.sqrt(features)
    return kernels.ConstantKernel(1.0, _VARIANCES) * _KERNELS[name](
        start, features
    ) + kernels.WhiteKernel(0.1, _NOISES)


_KERNELS = {
    "rbf": lambda start, features: kernels.RBF(start, _LENGTHS),
    "matern": lambda start, features: kernels.Matern(start, _LENGTHS, nu=2.5),
    "rbf_by_feature": lambda start, features: kernels.RBF([start] * features, _LENGTHS),
}
