"""The generation engines of an experiment, one for each model; see `build`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses

from flax import nnx
import jax
import ml_collections as mlc

from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.models.qwen3.quantize import Stored
from datachef_jax.parallel import hosts
from datachef_jax.sampling import reshard
from datachef_jax.sampling import shards
from datachef_jax.sampling import sizing
from datachef_jax.sampling import wire
from datachef_jax.sampling.engine import Engine
from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.state import Sizes
from datachef_jax.serving.client import Client
from datachef_jax.serving.client import Direct
from datachef_jax.serving.lane import Slices
from datachef_jax.serving.scheduler import Scheduler
from datachef_jax.verifier import rubric
from datachef_jax.verifier.baselines import deita
from experiments import checks
from experiments import models


@dataclasses.dataclass(frozen=True, kw_only=True)
class Need:
    """What somebody wants of a model's engine; see `sampling.state.Sizes`."""

    rows: int
    max_prompt: int
    max_new_tokens: int
    group: int = 1
    candidates: int = 0


class Needs:
    """What each user of a model wants, from the sections of a config."""

    def __init__(self, config: mlc.ConfigDict):
        """Takes the sections of what is asked for; of policies also turns and rl."""
        self._config = config

    def of(self, name: str) -> Need:
        """Returns the need of a model; see `parts.engines` for the names."""
        config = self._config
        match name:
            case "policy" | "untrained":  # both write recipes
                sampling, turns = config.sampling, config.turns
                # Whoever answers again reads what has been said so far.
                said = sampling.max_new_tokens if turns.apart or turns.retries else 0
                return Need(
                    rows=sampling.rows,
                    group=config.rl.group_size,
                    max_prompt=sampling.max_prompt_tokens + said,
                    max_new_tokens=sampling.max_new_tokens,
                )
            case "judge" | "held_out_judge":  # which writes only if it reasons
                section = config[name]
                written = section.reasoning if section.mode == "reasoning" else {}
                return Need(
                    rows=written.get("rows", 0),
                    max_prompt=section.max_prompt_tokens,
                    max_new_tokens=written.get("max_new_tokens", 0),
                    candidates=len(rubric.SCORES),
                )
            case "rater":  # of DEITA, which asks for a number
                return Need(
                    rows=0,
                    max_prompt=config.baselines.rater_prompt_tokens,
                    max_new_tokens=0,
                    candidates=deita.LEVELS,
                )
            case "generator" | "base":
                section = config[name]
                return Need(
                    rows=section.rows,
                    max_prompt=section.max_prompt_tokens,
                    max_new_tokens=section.max_new_tokens,
                )
        raise AssertionError(name)


def sizes(
    config: mlc.ConfigDict,
    model: Qwen3Config,
    dtype: str,
    needs: Sequence[Need],
    *,
    free_bytes: int,
) -> Sizes:
    """Sizes an engine for all who want it, on the mesh that is set.

    Args:
      config: Its section engine.
      model: The model's sizes.
      dtype: Of the model's activations.
      needs: What is wanted; rows are split over the shards of the data axis.
      free_bytes: That pages may take on one device.
    """
    section = config.engine
    most = {
        field.name: max(getattr(need, field.name) for need in needs)
        for field in dataclasses.fields(Need)
    }
    most["rows"] = -(-most["rows"] // shards.count())
    with checks.blame("config.engine", section.to_dict()):
        return sizing.plan(
            model,
            stored(config).pages_dtype(dtype),
            page_size=section.page_size,
            read_tokens=section.read_tokens,
            free_bytes=free_bytes,
            **most,
        )


def stored(config: mlc.ConfigDict) -> Stored:
    """Returns in which numbers engines keep what they read, from the section engine."""
    section = config.engine
    with checks.blame("config.engine", section.to_dict()):
        return Stored(weights=section.weights, pages=section.pages)


class Engines:
    """Engines by what they are for.

    In a run of one process a scheduler shares the devices among them. Several processes
    have to make the same steps in the same order, so there each engine works in the
    thread that calls it.
    """

    def __init__(
        self,
        config: mlc.ConfigDict,
        wanted: Mapping[str, tuple[models.Model, Need]],
        *,
        elsewhere: Mapping[str, Client],
        end_id: int,
    ):
        """Makes an engine for each model, and pages for all who want it.

        Args:
          config: Its sections engine, serving and policy.
          wanted: By purpose, which is also the config's name of its priority.
          elsewhere: By purpose, of models that have no engine here.
          end_id: The token that ends completions.

        Raises:
          UserError: If there is too little memory, or no such priority.
        """
        for name in wanted:
            priority = config.serving.priorities[name]
            with checks.blame(f"config.serving.priorities.{name}", priority):
                wire.check_priority(priority)
        self._config = config
        self._end_id = end_id
        self._elsewhere = elsewhere
        self._models = {name: model for name, (model, _) in wanted.items()}
        self._scheduler: Scheduler | None = None
        if jax.process_count() == 1:
            rounds = config.serving.rounds
            self._scheduler = Scheduler(
                slices=Slices(rounds=rounds, drafted_rounds=rounds),
                patience=config.serving.patience,
            )
        self._planned_bytes = 0  # of engines so far, which do not hold them yet
        self._lanes: dict[str, _Lane] = {}
        for names in _by_model(self._models):
            mesh = hosts.own if "generator" in names else contextlib.nullcontext
            with mesh():
                engine = self._engine(names, [wanted[name][1] for name in names])
            lane = _Lane(name=names[0], engine=engine, mesh=mesh)
            if self._scheduler is not None:
                params = self._models[lane.name].params
                self._scheduler.add(lane.name, engine, params)
            self._lanes |= {name: lane for name in names}

    def client(self, name: str) -> Client:
        """Returns a client of a model with the weights it was loaded with."""
        if name in self._elsewhere:
            return self._elsewhere[name]
        return self.with_weights(name, self._models[name].params, version=0)

    def with_weights(self, name: str, params: nnx.State, *, version: int) -> Client:
        """Returns a client of a model with other weights.

        Calls with different weights of a model must not overlap.
        """
        lane, dtype = self._lanes[name], self._config.policy.dtype
        if self._scheduler is None:
            with lane.mesh():
                whole = reshard.for_sampling(params, dtype=dtype)
            return Direct(lane.engine, whole, version=version)
        priority = self._config.serving.priorities[name]
        client = self._scheduler.client(lane.name, priority=priority)

        def exchange() -> None:
            if lane.params is not params or lane.version != version:
                lane.params, lane.version = params, version
                whole = reshard.for_sampling(params, dtype=dtype)
                self._scheduler.set_params(lane.name, whole, version=version)

        return _Weighted(client, exchange)

    def counts(self, name: str) -> dict[str, int]:
        """Returns what the engine of a model has done; see `sampling.state.Counts`."""
        return self._lanes[name].engine.statistics()

    def sleep(self) -> None:
        """Frees the memory of all engines until there is work: an update needs it."""
        if self._scheduler is None:
            for lane in self._lanes.values():
                lane.engine.sleep()
            return
        self._scheduler.sleep()
        for lane in self._lanes.values():
            if lane.params is not None:  # the collected copy goes, too
                lane.params = None
                params = self._models[lane.name].params
                self._scheduler.set_params(lane.name, params, version=0)

    def _engine(self, names: Sequence[str], needs: Sequence[Need]) -> Engine:
        """Makes the engine of a model, big enough for all who want it."""
        model = self._models[names[0]]
        whole = nnx.merge(model.graphdef, model.params)
        dtype, section = whole.compute.dtype, self._config.engine
        self._planned_bytes += reshard.local_bytes(model.params, dtype=dtype)
        free = sizing.free_bytes() - section.reserve_bytes - self._planned_bytes
        room = sizes(self._config, whole.config, dtype, needs, free_bytes=free)
        self._planned_bytes += room.pages * sizing.page_bytes(
            whole.config,
            stored(self._config).pages_dtype(dtype),
            page_size=room.page_size,
        )
        return Engine(
            model.graphdef,
            whole.config,
            whole.compute,
            room,
            end_id=self._end_id,
            stored=stored(self._config),
        )


@dataclasses.dataclass(kw_only=True)
class _Lane:
    """An engine, and the weights it has at present, if they have been collected.

    Of several processes each has a generator of its own; `mesh` sets the mesh of the
    engine.
    """

    name: str
    engine: Engine
    mesh: Callable[[], contextlib.AbstractContextManager]
    params: nnx.State | None = None
    version: int = 0


class _Weighted(Client):
    """A client that first makes sure of its weights."""

    def __init__(self, client: Client, exchange: Callable[[], None]):
        """Changes nothing yet.

        Args:
          client: Of the model with any weights.
          exchange: Gives it these ones, unless it has them.
        """
        self._client = client
        self._exchange = exchange

    def serve(self, requests: Sequence[Request]) -> Iterator[tuple[int, Part]]:
        """See `Client`."""
        self._exchange()
        return self._client.serve(requests)


def _by_model(loaded: Mapping[str, models.Model]) -> list[list[str]]:
    """Returns the names of each model: some are several times the same."""
    groups: dict[int, list[str]] = {}
    for name, model in loaded.items():
        groups.setdefault(id(model), []).append(name)
    return list(groups.values())
