"""Tests for experiments/bench_proxy.py, on made-up runs and on the real ones."""

import csv
import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

from configs.bench import proxy as config_file
from datachef_jax.tasks import real_math
from experiments import bench_proxy
from experiments import build_proxy
from experiments import checks
from experiments import environment
from tests.experiments.conftest import ROOT

_DOMAINS = ("pile_cc", "github", "arxiv", "europarl")


def _write(path, head, index, values):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", *head])
        writer.writerows([i, *row] for i, row in zip(index, values, strict=True))


def _losses(mixtures):
    """Returns what is sure to be foretold: a loss that is linear in the roots."""
    return 5.0 - np.sqrt(mixtures[:, 0]) + 0.5 * np.sqrt(mixtures[:, 1])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Returns a folder of made-up runs; europarl is rare in all of them."""
    made = tmp_path / "data" / "made"
    made.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count, shift in (
        ("train_{}_1m", 120, 0),
        ("test_{}_1m", 60, 0),
        ("test_{}_60m", 60, 1),
        ("test_{}_1B", 30, 2),
    ):
        mixtures = rng.dirichlet([0.2, 0.2, 0.2, 0.03], 40 * count)
        mixtures = mixtures[mixtures[:, 3] < 0.2][:count]
        noise = 0.02 * rng.normal(size=count)
        own, other = _losses(mixtures) - shift + noise, rng.normal(size=count)
        index = np.arange(count)
        head = [f"train_the_pile_{name}" for name in _DOMAINS]
        _write(made / f"{part.format('mixture')}.csv", head, index, mixtures)
        head = [f"metric/the_pile_{name}_val_loss" for name in ("arxiv", "pile_cc")]
        path = made / f"{part.format('pile_loss')}.csv"
        _write(path, head, index, np.stack([other, own], 1))
    monkeypatch.setenv("DATACHEF_DATA", str(tmp_path / "data"))
    return made


def _config(**changes):
    config = config_file.get_config()
    config.update(
        folder="made", draws=2, fitted=24, folds=4, representations=("shares", "roots")
    )
    config.kernels = ("rbf",)
    config.update(changes)
    return config


def _build(config, workdir):
    return build_proxy.PROGRAMMES["bench_proxy"](config, workdir, ROOT)


def _run(config, workdir):
    workdir.mkdir()
    record = environment.Environment(workdir / "environment.json", root=ROOT)
    _build(config, workdir).run(record)
    return json.loads((workdir / "summary.json").read_text())


def test_made_up_runs_are_ranked_and_far_mixtures_flagged(folder, tmp_path, capsys):
    summary = _run(_config(), tmp_path / "run")
    assert summary["chosen"] == ["roots, rbf"] * 2
    for model in ("proxy", "linear, roots"):
        for size in bench_proxy.SIZES:
            assert summary["spearman"][model][size]["mean"] > 0.97
    assert set(summary["spearman"]) == {
        "proxy",
        "linear regression",
        "linear, roots",
        "gradient boosting",
    }
    assert summary["covered"]["mean"] > 0.7
    flagged = {name: each["mean"] for name, each in summary["flagged"].items()}
    assert flagged["corners"] == flagged["absent"] == 1.0
    assert flagged["test"] < 0.25 and flagged["without"] < 0.25
    assert summary["std"]["corners"]["mean"] > summary["std"]["test"]["mean"]
    text = capsys.readouterr().out
    assert text.startswith("| mean ± deviation of 2 draws | proxy |")
    assert "Chosen by cross-validation: roots, rbf (2)." in text
    assert (tmp_path / "run" / "table.md").read_text() == text
    picture = (tmp_path / "run" / "predicted.svg").read_text()
    assert ElementTree.fromstring(picture).tag.endswith("svg")


def test_the_same_seed_gives_the_same_figures(folder, tmp_path):
    config = _config(draws=1, representations=("roots",))
    one, two = (_run(config, tmp_path / name) for name in "ab")
    assert one == two
    config.seed = 1
    assert _run(config, tmp_path / "c")["flagged"] != one["flagged"]


def test_runs_are_joined_by_index_and_read_by_domain(folder):
    train = bench_proxy.read(folder, "pile_cc")["train"]
    assert train.domains == tuple(f"train_the_pile_{name}" for name in _DOMAINS)
    np.testing.assert_allclose(train.losses, _losses(train.mixtures), atol=0.1)
    np.testing.assert_allclose(train.mixtures.sum(1), 1.0)


def test_files_that_do_not_fit_are_refused(folder):
    with pytest.raises(ValueError, match="has no column 'metric/the_pile_github_val"):
        bench_proxy.read(folder, "github")
    shutil.copy(folder / "test_pile_loss_1B.csv", folder / "kept.csv")
    lines = (folder / "kept.csv").read_text().splitlines()
    swapped = [lines[0], lines[2], lines[1], *lines[3:]]
    (folder / "test_pile_loss_1B.csv").write_text("\n".join(swapped) + "\n")
    with pytest.raises(ValueError, match="test_mixture_1B.csv and .* same runs"):
        bench_proxy.read(folder, "pile_cc")
    shutil.copy(folder / "kept.csv", folder / "test_pile_loss_1B.csv")
    mixtures = folder / "test_mixture_1B.csv"
    mixtures.write_text(mixtures.read_text().replace("github", "gitlab"))
    with pytest.raises(ValueError, match="not of the same domains"):
        bench_proxy.read(folder, "pile_cc")


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("folder", "elsewhere", "config.folder='elsewhere': .*No such file"),
        ("target", "books", "config.folder='made': .*no column"),
        ("folds", 1, "config.folds=1: must be from 2 to config.fitted=24"),
        ("folds", 25, "config.folds=25: must be from 2"),
        ("fitted", 110, "config.fitted=110: must be below"),
        ("representations", ("cubes",), "representations must be of .*'cubes'"),
        ("kernels", ("linear",), "kernel must be one of .*'linear'"),
        ("far", 0.01, "config.far=0.01: must be above"),
        ("interval", 1.0, "config.interval=1.0: must be above 0 and below 1"),
    ],
)
def test_what_cannot_be_is_refused_by_field(folder, tmp_path, field, value, message):
    with pytest.raises(checks.UserError, match=message):
        _build(_config(**{field: value}), tmp_path)


def test_on_the_real_runs_it_ranks_and_its_intervals_hold(tmp_path):
    try:
        data = real_math.data_folder(ROOT)
    except ValueError as error:
        pytest.skip(str(error))
    if not (data / "regmix").is_dir():
        pytest.skip(f"no regmix/ in {data}")
    config = config_file.get_config()
    config.draws, config.representations, config.kernels = 3, ("roots",), ("rbf",)
    summary = _run(config, tmp_path / "run")
    ranked = summary["spearman"]["proxy"]
    assert ranked["60M"]["mean"] >= 0.9 and ranked["1B"]["mean"] >= 0.85
    assert 0.85 <= summary["covered"]["mean"] <= 0.95
    flagged = {name: each["mean"] for name, each in summary["flagged"].items()}
    assert flagged["absent"] > 0.95 and flagged["corners"] > 0.6
    assert flagged["test"] < 0.15 and flagged["without"] < 0.15
