"""Tests for datachef_jax/verifier/proxy.py."""

import dataclasses

import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest
from scipy import stats

from datachef_jax.verifier import proxy

_SETTINGS = proxy.ProxySettings(kernel="rbf", prior_std=0.25, unfamiliar_share=0.05)


def _fit(features, scores, **changes):
    settings = dataclasses.replace(_SETTINGS, **changes)
    return proxy.fit(
        np.asarray(features, float), np.asarray(scores, float), settings=settings
    )


def _study(count, seed, noise=0.1):
    """Returns features in very different units, and scores that depend on two."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 3))
    scores = features[:, 0] - 0.5 * features[:, 1] ** 2
    scores += noise * rng.normal(size=count)
    return features * [1.0, 1e3, 1e-2] + [0.0, 5e3, 1.0], scores


@pytest.fixture(scope="module")
def fitted():
    return _fit(*_study(60, seed=0))


@pytest.mark.parametrize(
    "name, value",
    [
        ("kernel", "linear"),
        ("prior_std", 0.0),
        ("prior_std", np.inf),
        ("unfamiliar_share", 0.0),
        ("unfamiliar_share", 1.0),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*{value}"):
        dataclasses.replace(_SETTINGS, **{name: value})


def test_the_reward_is_a_lower_bound():
    made = proxy.Prediction(
        mean=np.array([0.5, 0.6]),
        std=np.array([0.1, 0.3]),
        unfamiliar=np.array([False, True]),
        distance=np.array([1.0, 9.0]),
    )
    np.testing.assert_allclose(proxy.reward(made, 2.0), [0.3, 0.0], atol=1e-12)
    np.testing.assert_allclose(proxy.reward(made, 0.0), made.mean)
    for k in (-0.1, np.nan):
        with pytest.raises(ValueError, match=f"k must be at least 0, got {k}"):
            proxy.reward(made, k)


def test_predictions_are_those_of_the_textbook(fitted):
    """Rasmussen and Williams 2006, equations 2.25 and 2.26, in numpy alone."""
    constant, length, noise = np.exp(fitted.theta)
    centre, scale = fitted.features.mean(0), fitted.features.std(0)
    z = (fitted.features - centre) / scale
    y = (fitted.scores - fitted.scores.mean()) / fitted.scores.std()
    others = _study(20, seed=1)[0]
    q = (others - centre) / scale

    def covariance(a, b):
        apart = ((a[:, None] - b[None]) ** 2).sum(-1)
        return constant * np.exp(-0.5 * apart / length**2)

    inverse = np.linalg.inv(covariance(z, z) + noise * np.eye(60))
    cross = covariance(q, z)
    variance = constant + noise - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    got = fitted.predict(others)
    mean = fitted.scores.mean() + fitted.scores.std() * cross @ inverse @ y
    np.testing.assert_allclose(got.mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        got.std, fitted.scores.std() * np.sqrt(variance), rtol=1e-5
    )
    nearest = np.sqrt(((q[:, None] - z[None]) ** 2).sum(-1)).min(1)
    np.testing.assert_allclose(got.distance, nearest, rtol=1e-9)


@pytest.mark.parametrize("kernel", ["rbf", "matern", "rbf_by_feature"])
def test_it_ranks_new_recipes_and_its_intervals_hold(kernel):
    made = _fit(*_study(60, seed=0), kernel=kernel)
    features, scores = _study(500, seed=2)
    got = made.predict(features)
    assert stats.spearmanr(got.mean, scores).statistic > 0.9
    covered = np.mean(np.abs(scores - got.mean) <= 1.645 * got.std)
    assert 0.82 <= covered <= 0.97


def test_far_away_nothing_is_known(fitted):
    far = fitted.features[:1] + 50 * fitted.features.std(0)
    got, near = fitted.predict(far), fitted.predict(fitted.features[:1])
    np.testing.assert_allclose(got.mean, fitted.scores.mean(), atol=1e-3)
    assert got.std[0] > 5 * near.std[0]
    assert got.unfamiliar[0] and not near.unfamiliar[0]


def test_a_result_nearby_makes_it_surer(fitted):
    features, scores = _study(61, seed=3)
    spot = fitted.features.mean(0) + 3 * fitted.features.std(0)
    more = _fit(
        np.vstack([fitted.features, spot + 0.01 * fitted.features.std(0)]),
        np.append(fitted.scores, scores[:1]),
    )
    assert more.predict(spot[None]).std[0] < 0.8 * fitted.predict(spot[None]).std[0]


def test_how_far_is_too_far_by_hand():
    """Fitted at 0, 1 and 3: their nearest others are at distances 1, 1 and 2."""
    made = _fit([[0.0], [1.0], [3.0]], [0.1, 0.2, 0.4])
    got = made.predict(np.array([[4.9], [5.1], [1.0], [-1.9]]))
    # 4 recipes with the new one: only the farthest of them can be told apart.
    assert got.unfamiliar.tolist() == [False, True, False, False]
    unit = np.std([0.0, 1.0, 3.0])
    np.testing.assert_allclose(got.distance * unit, [1.9, 2.1, 0.0, 1.9])
    # Of 4, 3 may be called unfamiliar: those above the second smallest, 1.
    made = _fit([[0.0], [1.0], [3.0]], [0.1, 0.2, 0.4], unfamiliar_share=0.75)
    got = made.predict(np.array([[3.9], [4.1], [-0.9], [-1.1]]))
    assert got.unfamiliar.tolist() == [False, True, False, True]


def test_few_that_are_like_the_fitted_are_called_unlike_them():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(10):
        fitted, others = rng.normal(size=(80, 3)), rng.normal(size=(300, 3))
        made = _fit(fitted, np.zeros(80), unfamiliar_share=0.1)
        shares.append(made.predict(others).unfamiliar.mean())
        assert not made.predict(fitted).unfamiliar.any()
        assert made.predict(others + 12).unfamiliar.all()
    assert 0.06 <= np.mean(shares) <= 0.14


def test_repeated_recipes_count_once():
    features, scores = _study(40, seed=4)
    others = _study(200, seed=5)[0]
    once = _fit(features, scores).predict(others).unfamiliar
    twice = _fit(np.vstack([features] * 2), np.tile(scores, 2)).predict(others)
    assert 0 < once.sum() < 100
    assert (once == twice.unfamiliar).all()


def test_what_never_varied_is_no_ground_for_a_prediction():
    features, scores = _study(40, seed=6)
    always = np.hstack([features, np.full((40, 1), 0.1 + 0.2)])
    made = _fit(always, scores)
    same = np.hstack([features, np.full((40, 1), 0.3)])  # but for rounding
    np.testing.assert_allclose(
        made.predict(same).mean, _fit(features, scores).predict(features).mean
    )
    assert not made.predict(same).unfamiliar.any()
    got = made.predict(same + [0, 0, 0, 1e-3])
    assert got.unfamiliar.all() and np.isinf(got.distance).all()
    np.testing.assert_allclose(got.mean, scores.mean())
    assert (got.std >= scores.std() * np.exp(made.theta[0] / 2)).all()


def test_equal_scores_teach_nothing():
    features, _ = _study(10, seed=7)
    for scores in (np.full(10, 0.3), np.full(10, 0.1) + 0.2):
        got = _fit(features, scores).predict(features + 1.0)
        np.testing.assert_allclose(got.mean, 0.3)
        np.testing.assert_allclose(got.std, 0.25)


def test_one_result_says_what_it_is_and_no_more():
    made = _fit([[1.0, 2.0]], [0.7])
    got = made.predict(np.array([[1.0, 2.0], [1.0, 2.1]]))
    np.testing.assert_allclose(got.mean, 0.7)
    np.testing.assert_allclose(got.std, 0.25)
    assert got.unfamiliar.tolist() == [False, True]


def test_one_recipe_with_several_scores_shows_their_noise():
    made = _fit([[1.0]] * 4, [0.0, 1.0, 0.0, 1.0])
    got = made.predict(np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(got.mean, 0.5)
    np.testing.assert_allclose(got.std, 0.5)  # more than the prior's 0.25
    assert got.unfamiliar.tolist() == [False, True]


def test_units_and_order_of_results_do_not_matter(fitted):
    others = _study(30, seed=8)[0]
    want = fitted.predict(others)
    order = np.random.default_rng(0).permutation(60)
    unit = np.array([60.0, 1e-3, -1.0])
    for features, scores, asked in (
        (fitted.features[order], fitted.scores[order], others),
        (fitted.features * unit + 7, fitted.scores, others * unit + 7),
    ):
        got = _fit(features, scores).predict(asked)
        np.testing.assert_allclose(got.mean, want.mean, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(got.std, want.std, rtol=1e-3)
        assert (got.unfamiliar == want.unfamiliar).all()


def test_a_fit_is_a_value():
    features, scores = _study(20, seed=9)
    given = features.copy(), scores.copy()
    one, two = _fit(features, scores), _fit(features, scores)
    assert (one.theta == two.theta).all()
    features[0], scores[0] = 99.0, 99.0  # still the caller's own
    assert (one.features == given[0]).all() and (one.scores == given[1]).all()
    with pytest.raises(ValueError, match="read-only"):
        one.scores[0] = 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_and_named(fitted, value):
    features, scores = _study(6, seed=10)
    features[4, 2] = value
    message = f"features must be finite, got {value} at row 4, column 2"
    with pytest.raises(ValueError, match=message):
        _fit(features, scores)
    with pytest.raises(ValueError, match=message):
        fitted.predict(features)
    features, scores = _study(6, seed=10)
    scores[3] = value
    with pytest.raises(
        ValueError, match=f"scores must be finite, got {value} at row 3"
    ):
        _fit(features, scores)


def test_shapes_that_do_not_fit_are_refused(fitted):
    with pytest.raises(ValueError, match="3 features were fitted, got 2"):
        fitted.predict(np.zeros((4, 2)))
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            _fit(np.zeros(shape), np.zeros(shape[0]))
    assert fitted.predict(np.zeros((0, 3))).mean.shape == (0,)


_NUMBERS = st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, 1e-9])


@hypothesis.given(
    table=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 7), st.integers(2, 4)),
        elements=_NUMBERS,
    ),
    asked=_NUMBERS,
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_any_finite_results_give_finite_predictions(table, asked):
    made = _fit(table[:, 1:], table[:, 0])
    others = np.vstack([table[:, 1:], np.full_like(table[:1, 1:], asked)])
    got = made.predict(others)
    assert np.isfinite(got.mean).all() and np.isfinite(got.std).all()
    assert (got.std > 0).all() and (got.distance >= 0).all()


def test_saved_and_loaded_it_predicts_the_same(tmp_path, fitted):
    others = _study(10, seed=11)[0]
    for name, made in (("a.npz", fitted), ("b", _fit([[1.0]], [0.5]))):
        made.save(tmp_path / name)
        loaded = proxy.load(tmp_path / name)
        assert loaded.settings == made.settings
        want, got = (m.predict(others[:, : made.features.shape[1]])
                     for m in (made, loaded))  # fmt: skip
        for field in dataclasses.fields(proxy.Prediction):
            np.testing.assert_array_equal(
                getattr(got, field.name), getattr(want, field.name)
            )


def test_other_files_are_not_loaded(tmp_path):
    np.savez(tmp_path / "other.npz", features=np.zeros(3))
    np.savez(tmp_path / "code.npz", features=np.array([print], object))
    (tmp_path / "text.npz").write_text("PK\x03\x04 not at all")
    for name in ("other", "code", "text"):
        with pytest.raises(ValueError):
            proxy.load(tmp_path / f"{name}.npz")


def test_each_group_is_predicted_from_all_others():
    features, scores = _study(12, seed=12)
    groups = ["b", "a", "c"] * 4
    got = proxy.held_out(features, scores, groups, settings=_SETTINGS)
    for group in "abc":
        out = np.array(groups) == group
        want = _fit(features[~out], scores[~out]).predict(features[out])
        for field in dataclasses.fields(proxy.Prediction):
            np.testing.assert_array_equal(
                getattr(got, field.name)[out], getattr(want, field.name)
            )
    with pytest.raises(ValueError, match="at least 2 groups are needed, got .'a'"):
        proxy.held_out(features, scores, ["a"] * 12, settings=_SETTINGS)


def test_the_log_density_is_that_of_a_normal_distribution():
    scores = np.array([0.1, -2.0, 0.4])
    made = proxy.Prediction(
        mean=np.array([0.0, 1.0, 0.4]),
        std=np.array([1.0, 2.0, 0.1]),
        unfamiliar=np.zeros(3, bool),
        distance=np.zeros(3),
    )
    np.testing.assert_allclose(
        proxy.log_density(made, scores), stats.norm.logpdf(scores, made.mean, made.std)
    )
