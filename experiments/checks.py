"""What a user can get wrong, found before any work starts.

Library code raises ValueError or OSError and names the value; here that becomes a
`UserError` which also names the field of the config. `run.py` prints it and exits
with code 2. Anything else that is raised is our own bug and keeps its traceback.
"""

from collections.abc import Iterator, Mapping
import contextlib
import math
import pathlib
from typing import Any

import ml_collections as mlc

from experiments import results

_CHOICES = {
    "ratio": ("token", "sequence", "recipe"),
    "surrogate": ("clipped", "cispo"),
    "weights_per": ("budget", "token", "completion", "sequence"),
    "engine_weights": ("none", "token", "sequence"),
    "kl": ("k1", "k2", "k3"),
    "worth": ("mean", "lower_bound"),
}
_MISSING = "(not set)"
# What a number may be, by the last name in its path; any other integer must be at
# least 1, any other float at least 0.
_RANGES = {
    "at least 0": (
        lambda x: x >= 0,
        {"examples_per_source", "llm_calls", "overlong_tokens", "port", "priority"}
        | {"rank", "retries", "row_cap", "seed", "warmup_steps", "reserve_bytes"}
        | {
            "policy",
            "untrained",
            "base",
            "judge",
            "generator",
            "held_out_judge",
        },  # priorities
    ),
    "above 0": (
        lambda x: x > 0,
        {"cpu_seconds", "max_grad_norm", "max_log_ratio", "mean_power", "patience"}
        | {"rms_norm_eps"}
        | {"rope_theta", "seconds", "wall_seconds"},
    ),
    "between 0 and 1": (
        lambda x: 0 <= x <= 1,
        {"clip_low", "max_malformed_share", "max_repetition", "min_mass"}
        | {"min_language", "near_duplicate", "significance"}
        | {"hostile_share", "min_score", "topics_share", "weight"},
    ),
    "at least 0 and below 1": (lambda x: 0 <= x < 1, {"b1", "b2"}),
    "-1 or at least 1": (lambda x: x == -1 or x >= 1, {"data"}),
}


class UserError(Exception):
    """A fault of the config, the command line or the files they name."""


@contextlib.contextmanager
def blame(field: str, value: Any) -> Iterator[None]:
    """Turns a ValueError or OSError of the body into a UserError about a field."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(f"{field}={value!r}: {error}") from error


def require(condition: bool, field: str, value: Any, message: str) -> None:
    """Raises a UserError about a field unless the condition holds."""
    if not condition:
        raise UserError(f"{field}={value!r}: {message}")


def ranges(config: Mapping[str, Any]) -> None:
    """Makes sure of every number and list by itself, in a config of any experiment.

    Args:
      config: As JSON types.
    """
    for path, value in _flatten(config).items():
        empty = value == [] and not path.endswith(".require")
        require(not empty, path, value, "must not be empty")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        name = path.rpartition(".")[2]
        words, holds = next(
            (
                (words, holds)
                for words, (holds, names) in _RANGES.items()
                if name in names
            ),
            ("at least 1", lambda x: x >= 1)
            if isinstance(value, int)
            else ("at least 0", lambda x: x >= 0),
        )
        require(math.isfinite(value) and holds(value), path, value, f"must be {words}")


def numbers(config: mlc.ConfigDict) -> None:
    """Makes sure of what the parts of an experiment expect of each other's numbers."""
    rl, sampling = config.rl, config.sampling
    completions = rl.prompts_per_step * rl.group_size
    for holds, field, value, message in (
        (rl.group_size >= 2, "rl.group_size", rl.group_size, "must be at least 2"),
        (
            completions % rl.micro_batch == 0,
            "rl.micro_batch",
            rl.micro_batch,
            f"must divide the {completions} completions of a step",
        ),
        *(
            (rl[name] in choices, f"rl.{name}", rl[name], f"must be one of {choices}")
            for name, choices in _CHOICES.items()
        ),
        (
            rl.ratio == "token" or rl.weights_per == "sequence",
            "rl.weights_per",
            rl.weights_per,
            f"must be 'sequence' with config.rl.ratio={rl.ratio!r}",
        ),
        (
            rl.max_engine_weight >= 1,
            "rl.max_engine_weight",
            rl.max_engine_weight,
            "must be at least 1",
        ),
        (
            rl.overlong_tokens <= sampling.max_new_tokens,
            "rl.overlong_tokens",
            rl.overlong_tokens,
            f"is above config.sampling.max_new_tokens={sampling.max_new_tokens}",
        ),
        (
            sampling.temperature > 0,
            "sampling.temperature",
            sampling.temperature,
            "must be above 0, or no two completions of a group differ",
        ),
        (
            config.pool.smallest <= config.pool.largest,
            "pool.smallest",
            config.pool.smallest,
            f"is above config.pool.largest={config.pool.largest}",
        ),
    ):
        require(holds, f"config.{field}", value, message)


def workdir(folder: pathlib.Path, config: Mapping[str, Any]) -> bool:
    """Makes sure that a folder holds nothing, or an earlier part of the same run.

    Args:
      folder: The run's folder; it need not exist.
      config: The config as JSON types.

    Returns:
      Whether there is a run to go on with.

    Raises:
      UserError: If the folder holds anything else; names the first field in which
        its config differs.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--workdir={folder}: this is a file")
    # Hidden: what a process killed while writing its very first file left.
    if not folder.exists() or all(p.name.startswith(".") for p in folder.iterdir()):
        return False
    if not (folder / "config.json").exists():
        raise UserError(f"--workdir={folder}: holds files, but no run (config.json)")
    with blame("--workdir", str(folder)):
        theirs = _flatten(results.read_json(folder / "config.json"))
    ours = _flatten(config)
    for field in sorted(theirs.keys() | ours.keys()):
        there, here = theirs.get(field, _MISSING), ours.get(field, _MISSING)
        if there != here:
            raise UserError(
                f"--workdir={folder}: holds the run of another config; "
                f"{field} is {there!r} there and {here!r} here. "
                "Choose another --workdir, or remove that one."
            )
    return True


def _flatten(value: Any, path: str = "config") -> dict[str, Any]:
    """Returns the leaves of nested dicts and lists by their path."""
    match value:
        case Mapping():
            items = {f"{path}.{key}": item for key, item in value.items()}
        case [_, *_]:  # an empty one is a leaf
            items = {f"{path}[{i}]": item for i, item in enumerate(value)}
        case _:
            return {path: value}
    leaves = {}
    for name, item in items.items():
        leaves.update(_flatten(item, name))
    return leaves
