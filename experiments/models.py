"""The models that experiments share, from the sections of a config; see `build`."""

from collections.abc import Sequence
import contextlib
import dataclasses
import pathlib

from flax import nnx
import jax
import ml_collections as mlc

from datachef_jax.models.qwen3 import config as qwen3_config
from datachef_jax.models.qwen3 import lora
from datachef_jax.models.qwen3 import sizes as qwen3_sizes
from datachef_jax.models.qwen3 import weights
from datachef_jax.parallel import hosts
from datachef_jax.text.tokenizer import ChatTokenizer
from experiments import checkpoints
from experiments import checks

DTYPES = ("float32", "bfloat16")
ELSEWHERE = ("judge", "held_out_judge", "generator")  # the others learn here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A model, split into what is compiled and what is computed with."""

    graphdef: nnx.GraphDef
    params: nnx.State

    def learned_and_frozen(self) -> tuple[nnx.State, nnx.State]:
        """Returns its adapters and all else; without adapters, all and nothing."""
        adapters, rest = nnx.split_state(self.params, nnx.LoRAParam, ...)
        return (adapters, rest) if adapters else (rest, adapters)


def load(
    config: mlc.ConfigDict, section: str, tokenizer: ChatTokenizer, root: pathlib.Path
) -> Model:
    """Loads the checkpoint of a section, and gives it adapters if it has `lora`.

    The checkpoint "random" is a model of `config.architecture` with fresh weights,
    "random/8b" one of that published size.
    """
    mesh = hosts.own() if section == "generator" else contextlib.nullcontext()
    checkpoint, compute_as = config[section].checkpoint, compute(config, section)
    with checks.blame(f"config.{section}.checkpoint", checkpoint), mesh:
        if checkpoint.partition("/")[0] == "random":
            made = sizes(config, section, vocab_size=tokenizer.vocab_size)
            model = weights.random(made, compute_as, seed=config.seed)
        else:
            model = weights.load(checkpoints.find(checkpoint, root), compute_as)
        if model.config.vocab_size < tokenizer.vocab_size:
            raise ValueError(
                f"its vocabulary of {model.config.vocab_size} is smaller than the "
                f"tokenizer's {tokenizer.vocab_size}"
            )
    if wanted := adapters(config, section):
        model = lora.add(model, wanted, seed=config.seed)
    graphdef, params = nnx.split(model, nnx.Param)
    return Model(graphdef=graphdef, params=params)


def load_each(
    config: mlc.ConfigDict,
    sections: Sequence[str],
    tokenizer: ChatTokenizer,
    root: pathlib.Path,
) -> list[Model | None]:
    """Loads several sections; those that are the same model share their weights.

    A checkpoint that is a URL is not loaded: its place holds None.
    """
    loaded: dict[tuple, Model] = {}
    found = []
    for section in sections:
        if section in ELSEWHERE and checkpoints.is_url(config[section].checkpoint):
            found.append(None)
            continue
        key = (
            config[section].checkpoint,
            compute(config, section),
            adapters(config, section),
            section == "generator" and jax.process_count() > 1,  # lives elsewhere
        )
        if key not in loaded:
            loaded[key] = load(config, section, tokenizer, root)
        found.append(loaded[key])
    return found


def compute(config: mlc.ConfigDict, section: str) -> qwen3_config.Compute:
    """Returns how a section's model computes: as the policy does.

    A model that does not learn has no `param_dtype` and `remat` of its own; its weights
    are kept as they are used.
    """
    policy, own = config.policy, config[section]
    stored = own.get("param_dtype", policy.dtype)
    for field, dtype in (
        ("config.policy.dtype", policy.dtype),
        (f"config.{section}.param_dtype", stored),
    ):
        checks.require(dtype in DTYPES, field, dtype, f"must be one of {DTYPES}")
    with checks.blame(f"config.{section}", own.to_dict()):
        return qwen3_config.Compute(
            dtype=policy.dtype,
            param_dtype=stored,
            remat=own.get("remat", "none"),
            shard_sequence=policy.shard_sequence,
            unroll=policy.unroll,
        )


def sizes(
    config: mlc.ConfigDict, section: str, *, vocab_size: int
) -> qwen3_config.Qwen3Config:
    """Returns the sizes of a section whose checkpoint is "random" or "random/<size>".

    Raises:
      ValueError: If no such size is published.
    """
    _, _, name = config[section].checkpoint.partition("/")
    if not name:
        return qwen3_config.Qwen3Config(vocab_size=vocab_size, **config.architecture)
    if name not in qwen3_sizes.QWEN3:
        raise ValueError(f"{name!r} is none of {sorted(qwen3_sizes.QWEN3)}")
    return qwen3_sizes.QWEN3[name]


def adapters(config: mlc.ConfigDict, section: str) -> qwen3_config.Lora | None:
    """Returns the adapters that a section asks for; None without any."""
    if "lora" not in config[section] or not config[section].lora.rank:
        return None
    settings = config[section].lora.to_dict()
    with checks.blame(f"config.{section}.lora", settings):
        return qwen3_config.Lora(**settings | {"targets": tuple(settings["targets"])})
