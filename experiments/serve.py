"""Serves a checkpoint over HTTP, in OpenAI's protocol, until it is told to stop."""

import dataclasses
import pathlib
import socket
from typing import Any

import ml_collections as mlc
import uvicorn

from datachef_jax.sampling.engine import Engine
from datachef_jax.sampling import sizing
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving import server
from datachef_jax.serving.asked import Limits
from datachef_jax.serving.asked import Reading
from datachef_jax.serving.compiler import Compiler
from datachef_jax.serving.endpoint import Bounds
from datachef_jax.serving.endpoint import Endpoint
from datachef_jax.serving.endpoint import Model
from datachef_jax.serving.lane import Slices
from datachef_jax.serving.offer import Offer
from datachef_jax.serving.scheduler import Scheduler
from datachef_jax.text.tokenizer import ChatTokenizer
from datachef_jax.training import preemption
from experiments import checks
from experiments import engines
from experiments import environment
from experiments import keys
from experiments import models
from experiments import parts
from experiments import results


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serve:
    """The parts of the experiment.

    Attributes:
      workdir: Gets `statistics.json` when it ends: what `/statistics` said last.
      name: Of the model.
      scheduler: Has it.
      server: Runs the endpoint.
      bound: The socket that it listens on.
      compiler: Of grammars.
      keyed: Whether callers show a key.
    """

    workdir: pathlib.Path
    name: str
    scheduler: Scheduler
    server: uvicorn.Server
    bound: socket.socket
    compiler: Compiler
    keyed: bool

    def run(self, record: environment.Environment) -> None:
        """Serves until SIGTERM or SIGINT.

        Raises:
          Preempted: Then.
        """
        try:
            with record.stage("compiling"):
                self._warm_up()
            print(self._greeting(), flush=True)
            self._listen()
        except KeyboardInterrupt as error:
            raise preemption.Preempted from error
        finally:
            self.compiler.close()
            self.scheduler.close()
            self.bound.close()

    def _listen(self) -> None:
        """Answers until a signal comes, which the server hands on when it has ended."""
        try:
            self.server.run(sockets=[self.bound])
        finally:
            statistics = self.scheduler.statistics()
            results.write_json(self.workdir / "statistics.json", statistics)

    def _warm_up(self) -> None:
        """Compiles the engine's program, so that no caller has to wait for it."""
        sampling = Sampling(max_new_tokens=1)
        request = Request(prompt=(0,), seeds=(0,), sampling=sampling)
        self.scheduler.submit(self.name, request).result()

    def _greeting(self) -> str:
        url = server.url(self.bound)
        key = ' -H "authorization: Bearer <key>"' if self.keyed else ""
        body = f'{{"model": "{self.name}", "prompt": "Hello", "max_tokens": 20}}'
        return (
            f"Serving {self.name} at {url}/v1; SIGTERM ends it. Try:\n"
            f"curl {url}/v1/completions -H 'content-type: application/json'{key} "
            f"-d '{body}'"
        )


def _serve(config: mlc.ConfigDict, workdir: pathlib.Path, root: pathlib.Path) -> Serve:
    """Builds the experiment behind `configs/serve.py`."""
    section, limits = config.serve, config.limits
    key = keys.read("serve", section.key_variable, section.key_file, root)
    tokenizer = parts.tokenizer(config.tokenizer, root)
    with checks.blame("config.tokenizer", config.tokenizer):
        pieces = tokenizer.pieces()
    model = models.load(config, "policy", tokenizer, root)
    engine = _engine(config, model, tokenizer)
    with checks.blame("config.serve", section.to_dict()):
        bound = server.listen(section.host, section.port, keyed=bool(key))
    scheduler = Scheduler(
        slices=Slices(**config.slices),
        patience=1.0,  # one model, which waits for no other
        most_requests=limits.requests,
    )
    scheduler.add(section.name, engine, model.params, pieces=pieces)
    compiler = Compiler(
        pieces,
        end_id=tokenizer.end_id,
        seconds=limits.grammar_seconds,
        memory=limits.grammar_bytes,
    )
    most = Limits(
        choices=limits.choices,
        seconds=limits.seconds,
        max_new_tokens=config.engine.max_new_tokens,
    )
    reading = Reading(tokenizer, compiler, most)
    offer = Offer(
        max_prompt_tokens=config.engine.max_prompt,
        max_new_tokens=config.engine.max_new_tokens,
        candidates=config.engine.candidates,
        seconds=limits.seconds,
        vocabulary=tokenizer.vocabulary,
    )
    endpoint = Endpoint(
        scheduler,
        {section.name: Model(reading=reading, pieces=pieces, offer=offer)},
        key=key,
        bounds=Bounds(body_bytes=limits.body_bytes, body_seconds=limits.body_seconds),
    )
    return Serve(
        workdir=workdir,
        name=section.name,
        scheduler=scheduler,
        server=server.make(endpoint.app, connections=limits.connections),
        bound=bound,
        compiler=compiler,
        keyed=bool(key),
    )


def _engine(
    config: mlc.ConfigDict, model: models.Model, tokenizer: ChatTokenizer
) -> Engine:
    stored, section = engines.stored(config), config.engine.to_dict()
    for name in ("weights", "pages"):
        del section[name]
    free = sizing.free_bytes() - section.pop("reserve_bytes")
    with checks.blame("config.engine", section):
        return Engine.sized(
            model.graphdef,
            model.params,
            end_id=tokenizer.end_id,
            stored=stored,
            free_bytes=free,
            **section,
        )


PROGRAMMES: dict[str, Any] = {"serve": _serve}
