"""Builds the benchmark of fine-tunes from its config; see `bench_finetunes.py`."""

import pathlib

import ml_collections as mlc

from datachef_jax.finetune import many
from experiments import bench_finetunes
from experiments import checks
from experiments import models
from experiments import parts

FITS = {
    fit.__name__: fit for fit in (many.one_by_one, many.in_threads, many.in_one_program)
}


def build(
    config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path
) -> bench_finetunes.BenchFinetunes:
    """Builds the experiment behind `configs/bench/finetunes.py`."""
    tokenizer = parts.tokenizer(config.tokenizer, root)
    (base,) = models.load_each(config, ("base",), tokenizer, root)
    learned, frozen = base.learned_and_frozen()
    section = config.finetune
    checks.require(
        config.steps <= section.steps,
        "config.steps",
        config.steps,
        f"is above config.finetune.steps={section.steps}",
    )
    with checks.blame("config.examples", config.examples.to_dict()):
        shape = bench_finetunes.Shape(**config.examples)
    checks.require(
        shape.longest <= section.row_tokens,
        "config.examples.longest",
        shape.longest,
        f"is above config.finetune.row_tokens={section.row_tokens}",
    )
    return bench_finetunes.BenchFinetunes(
        workdir=workdir,
        training=many.Training(
            graphdef=base.graphdef,
            params=learned,
            frozen=frozen,
            optimizer=parts.finetune_optimizer(config),
            steps=config.steps,
            sync_every=section.sync_every,
        ),
        variants=[_variant(i, **fields) for i, fields in enumerate(config.variants)],
        datasets=config.datasets,
        vocab_size=tokenizer.vocab_size,
        shape=shape,
        packed=dict(
            rows=section.batch_rows,
            row_tokens=section.row_tokens,
            row_targets=section.targets_per_row,
        ),
        rounds=config.rounds,
        whole=section.steps,
        tolerance=config.tolerance,
        seed=config.seed,
    )


def _variant(place: int, *, fit: str, width: int) -> bench_finetunes.Variant:
    field = f"config.variants[{place}]"
    checks.require(fit in FITS, f"{field}.fit", fit, f"must be one of {sorted(FITS)}")
    with checks.blame(f"{field}.width", width):
        return bench_finetunes.Variant(fit=FITS[fit], width=width)


PROGRAMMES = {"bench_finetunes": build}
