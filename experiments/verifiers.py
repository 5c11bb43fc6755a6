"""The Data Verifier of an experiment, from the sections judge and verifier."""

from collections.abc import Sequence
import pathlib

import ml_collections as mlc

from datachef_jax import types
from datachef_jax.sampling.request import Sampling
from datachef_jax.scoring.equivalence import Equivalence
from datachef_jax.serving.client import Client
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.verifier import rubric
from datachef_jax.verifier.forecast import Forecaster
from datachef_jax.verifier.gates import correctness
from datachef_jax.verifier.gates.references import References
from datachef_jax.verifier.gates.settings import GateSettings
from datachef_jax.verifier.judges.criteria import CriteriaJudge
from datachef_jax.verifier.judges.expected import ExpectedJudge
from datachef_jax.verifier.judges.grade import Judge
from datachef_jax.verifier.judges.prompting import Prompter
from datachef_jax.verifier.judges.reasoning import ReasoningJudge
from datachef_jax.verifier.proxy import ProxySettings
from datachef_jax.verifier.verify import Verifier
from datachef_jax.verifier.verify import VerifierSettings
from experiments import checks
from experiments.engines import Engines
from sandbox.pool import Sandbox

HELD_OUT = "held_out_judge"
_COMPARE_SECONDS = 3.0  # that two formulas may take; most take milliseconds
_MODES = ("expected", "reasoning", "criteria")

_DECIDE: dict[str, correctness.Decide] = {
    "none": correctness.nothing,
    "arithmetic": correctness.arithmetic,
    "mini": correctness.mini,
}


def held_out(config: mlc.ConfigDict) -> tuple[str, ...]:
    """Returns the section of the judge that is never rewarded, if there is one."""
    return (HELD_OUT,) if config[HELD_OUT].checkpoint else ()


def held_out_client(config: mlc.ConfigDict, engines: Engines) -> Client | None:
    """Returns its client, if there is one."""
    return engines.client(HELD_OUT) if held_out(config) else None


def judge(
    config: mlc.ConfigDict, name: str, client: Client, tokenizer: ChatTokenizer
) -> Judge:
    """Builds a judge.

    Args:
      config: Its section `name`.
      name: "judge" or "held_out_judge".
      client: Of its model.
      tokenizer: Its tokenizer.
    """
    section = config[name]
    checks.require(
        section.mode in _MODES,
        f"config.{name}.mode",
        section.mode,
        f"must be one of {_MODES}",
    )
    with checks.blame(f"config.{name}", section.to_dict()):
        prompter = Prompter(
            tokenizer=tokenizer,
            style=rubric.RubricStyle(name=section.style, max_chars=section.max_chars),
            max_prompt_tokens=section.max_prompt_tokens,
        )
        if section.mode == "reasoning":
            return ReasoningJudge(
                client,
                prompter,
                sampling=Sampling(
                    max_new_tokens=section.reasoning.max_new_tokens,
                    temperature=section.reasoning.temperature,
                ),
            )
        made = {"expected": ExpectedJudge, "criteria": CriteriaJudge}[section.mode]
        return made(client, prompter, min_mass=section.min_mass)


def verifier(
    config: mlc.ConfigDict,
    client: Client,
    tokenizer: ChatTokenizer,
    tasks: Sequence[types.Task],
    *,
    held_out: Client | None,
    forecaster: Forecaster | None = None,
    references: References | None = None,
) -> Verifier:
    """Builds the verifier around a judge.

    Args:
      config: Its sections judge, held_out_judge and verifier.
      client: Of the judge's model.
      tokenizer: Of all models.
      tasks: The whole pool: no row may give away a held-out benchmark.
      held_out: Of the judge that is recorded and never rewarded, if there is one.
      forecaster: From `forecaster`.
      references: From `references`; what they do not know, a program may.
    """
    section = config.verifier
    checks.require(
        section.correctness in _DECIDE,
        "config.verifier.correctness",
        section.correctness,
        f"must be one of {sorted(_DECIDE)}",
    )
    with checks.blame("config.verifier", section.to_dict()):
        settings = VerifierSettings(
            rows_per_dataset=section.rows_per_dataset,
            max_malformed_share=section.max_malformed_share,
            mean_power=section.mean_power,
            held_out_every=section.held_out_every,
            gates=GateSettings(**section.gates.to_dict()),
        )
    other = None
    if held_out is not None:
        other = judge(config, HELD_OUT, held_out, tokenizer)
    return Verifier(
        judge(config, "judge", client, tokenizer),
        settings,
        tokenizer=tokenizer,
        benchmarks=[task.examples for task in tasks if task.held_out],
        decide=_in_turn(references, _DECIDE[section.correctness]),
        held_out=other,
        forecaster=forecaster,
    )


def _in_turn(
    references: References | None, program: correctness.Decide
) -> correctness.Decide:
    """Returns what decides rows by references, else by a program."""
    if references is None:
        return program
    return lambda task, rows: correctness.first(
        references.decide(task, rows), program(task, rows)
    )


def references(
    config: mlc.ConfigDict, sandbox: Sandbox, root: pathlib.Path
) -> References | None:
    """Reads the right answers that are known, if the section verifier names a file.

    Args:
      config: Its section verifier.
      sandbox: Runs their unit tests.
      root: What the file's name is relative to.
    """
    path = config.verifier.references
    if not path:
        return None
    with checks.blame("config.verifier.references", path):
        return References(
            root / path,
            equivalence=Equivalence(workers=1, seconds=_COMPARE_SECONDS),
            sandbox=sandbox,
        )


def forecaster(config: mlc.ConfigDict, root: pathlib.Path) -> Forecaster | None:
    """Builds the learned proxy, if the section proxy has results to fit it to."""
    section = config.proxy
    checks.require(
        not section.weight or bool(section.results),
        "config.proxy.weight",
        section.weight,
        "wants config.proxy.results",
    )
    if not section.results:
        return None
    with checks.blame("config.proxy", section.to_dict()):
        return Forecaster(
            root / section.results, settings=proxy_settings(config), k=section.k
        )


def proxy_settings(config: mlc.ConfigDict) -> ProxySettings:
    """Returns the numbers of the learned proxy, from the section proxy."""
    section = config.proxy
    with checks.blame("config.proxy", section.to_dict()):
        return ProxySettings(
            kernel=section.kernel,
            prior_std=section.prior_std,
            unfamiliar_share=section.unfamiliar_share,
        )
