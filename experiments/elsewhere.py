"""Models that another machine serves: those whose checkpoint is a URL."""

import pathlib

import jax
import ml_collections as mlc

from datachef_jax.serving import remote
from datachef_jax.serving.client import Client
from datachef_jax.serving.offer import Offer
from datachef_jax.text.tokenizer import ChatTokenizer
from experiments import checks
from experiments import keys
from experiments.engines import Need


def client(
    config: mlc.ConfigDict,
    section: str,
    need: Need,
    tokenizer: ChatTokenizer,
    root: pathlib.Path,
) -> Client:
    """Makes a client of the model that a section names by its URL.

    Args:
      config: The section, and `remote`.
      section: One of `models.ELSEWHERE`.
      need: What will be wanted of it.
      tokenizer: Of the run.
      root: What the path of a key is relative to.

    Raises:
      UserError: If it cannot be reached, or cannot do what is needed.
    """
    checkpoint, settings = config[section].checkpoint, config.remote
    field = f"config.{section}.checkpoint"
    url, _, name = checkpoint.rpartition("/")
    checks.require(
        bool(name) and not url.endswith("/"),
        field,
        checkpoint,
        "is no http://<host>:<port>/<name of the model>",
    )
    key = keys.read("remote", settings.key_variable, settings.key_file, root)
    wanted = Offer(
        max_prompt_tokens=need.max_prompt,
        max_new_tokens=need.max_new_tokens,
        candidates=need.candidates,
        seconds=settings.seconds,
        vocabulary=tokenizer.vocabulary,
    )
    with checks.blame(field, checkpoint):
        made = remote.Remote(
            url,
            name,
            key=key,
            connections=settings.connections,
            seconds=settings.seconds,
            retries=settings.retries,
        )
        try:
            made.check(wanted)
        except remote.RemoteError as error:  # once the run has begun it is no fault
            raise ValueError(str(error)) from error
    several = jax.process_count() > 1 and section != "generator"  # each has its own
    return remote.Shared(made) if several else made
