"""Builds the programmes that make the mini models; see `mini_models.py`."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import pathlib
from typing import Any

import ml_collections as mlc

from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier import rubric
from experiments import checkpoints
from experiments import checks
from experiments import environment
from experiments import mini_models
from experiments import parts
from experiments import results


@dataclasses.dataclass(frozen=True, kw_only=True)
class Making:
    """The making of one model.

    Attributes:
      workdir: Gets `checkpoint/` and `summary.json`.
      make: Makes it; returns the figures of `summary.json`.
    """

    workdir: pathlib.Path
    make: Callable[[], Mapping[str, float]]

    def run(self, record: environment.Environment) -> None:
        """Makes the model."""
        with record.stage("making"):
            figures = self.make()
        for name, value in figures.items():
            print(f"{name:<24} {value:.4f}")
        results.write_json(self.workdir / "summary.json", dict(figures))


def build(config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path) -> Making:
    """Builds the making that `config.experiment` names."""
    settings = config.to_dict()
    name = settings.pop("experiment")
    settings.pop("mesh")
    pool = settings.pop("pool")
    settings |= dict(
        pool_seed=pool["seed"], benchmark_size=pool["benchmark_size"], workdir=workdir
    )
    if "tokenizer" in settings:
        folder = settings["tokenizer"]
        with checks.blame("config.tokenizer", folder):
            settings["tokenizer"] = ChatTokenizer.load(checkpoints.find(folder, root))
    for field, style in (
        ("prompt", parts.prompt_style),
        ("rubric", rubric.RubricStyle),
    ):
        if field in settings:
            with checks.blame(f"config.{field}", settings[field]):
                settings["style"] = style(**settings.pop(field))
    return Making(
        workdir=workdir, make=functools.partial(_MAKE[name], **_plain(settings))
    )


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings whose tuples of sections are lists of dicts."""
    return {
        key: [dict(part) for part in value] if key == "stages" else value
        for key, value in settings.items()
    }


_MAKE = {
    "make_tokenizer": mini_models.make_tokenizer,
    "make_base": mini_models.make_base,
    "make_policy": mini_models.make_policy,
    "make_judge": mini_models.make_judge,
}
PROGRAMMES = {name: build for name in _MAKE}
