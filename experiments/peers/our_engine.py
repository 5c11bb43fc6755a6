"""One process that measures our engine; see `measure_engine.py`."""

from collections.abc import Mapping, Sequence
import functools
import pathlib
import time
from typing import Any

from flax import nnx
import jax

from datachef_jax.models.qwen3 import weights
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.model import Qwen3
from datachef_jax.parallel import sharding
from datachef_jax.sampling import engine as engines
from datachef_jax.sampling import state
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from experiments import allocator
from experiments.peers import measure_engine

_PAGE_SIZE = 64  # 16 and 32 made decoding slower, 128 as well
_SHORT = 2  # new tokens, or prompts, of a warm-up: how many there are is not compiled


def load(job: Mapping[str, Any]) -> Qwen3:
    """Reads the weights."""
    compute = Compute(
        dtype="float32",
        param_dtype="float32",
        remat="none",
        shard_sequence=False,
        unroll=job["sizes"]["num_layers"],
    )
    return weights.load(pathlib.Path(job["folder"]), compute)


def make(
    job: Mapping[str, Any], workload: Mapping[str, Any], model: Qwen3
) -> measure_engine.Program:
    """Returns what answers the workload, all of its requests handed over at once."""
    graphdef, params = nnx.split(model, nnx.Param)
    engine = _engine(graphdef, model, job, workload)
    run = functools.partial(_answer, engine)
    asked = requests(workload, temperature=1.0)
    compared = [
        Request(
            prompt=tuple(prompt),
            seeds=(0,),
            sampling=Sampling(
                max_new_tokens=workload["greedy_tokens"], temperature=0.0
            ),
        )
        for prompt in workload["greedy_prompts"]
    ]

    def host_share() -> float:
        before, start = engine.device_seconds, time.perf_counter()
        run(params, asked)
        took = time.perf_counter() - start
        return 1.0 - (engine.device_seconds - before) / took

    return measure_engine.Program(
        warm_up=lambda: run(params, requests(_short(workload), temperature=1.0)),
        run=lambda: run(params, asked),
        greedy=lambda: run(params, compared) if compared else [],
        host_share=host_share,
    )


def requests(workload: Mapping[str, Any], *, temperature: float) -> list[Request]:
    """Returns one request for each row; rows of a group have the same prompt."""
    candidates = tuple(workload["candidates"])
    if candidates:
        return [
            Request(prompt=tuple(prompt), candidates=candidates)
            for prompt in workload["prompts"]
        ]
    rows = zip(workload["prompts"], workload["new_tokens"], strict=True)
    return [
        Request(
            prompt=tuple(prompt),
            seeds=(i,),
            sampling=Sampling(max_new_tokens=count, temperature=temperature),
        )
        for i, (prompt, count) in enumerate(rows)
    ]


def _short(workload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what has everything compiled: few tokens, or few rows to score."""
    if workload["candidates"]:
        return dict(workload) | {"prompts": workload["prompts"][:_SHORT]}
    counts = [min(count, _SHORT) for count in workload["new_tokens"]]
    return dict(workload) | {"new_tokens": counts}


def _engine(
    graphdef: nnx.GraphDef,
    model: Qwen3,
    job: Mapping[str, Any],
    workload: Mapping[str, Any],
) -> engines.Engine:
    """Returns an engine with room for as many rows of the workload as asked."""
    prompts = workload["prompts"] + workload["greedy_prompts"]
    longest = max(map(len, prompts))
    new = max(workload["new_tokens"] + [workload["greedy_tokens"]])
    pages = job["rows"] * -(-(longest + new) // _PAGE_SIZE)
    sizes = state.Sizes(
        rows=job["rows"] if new else 0,  # scores need none
        prompts=2 * job["rows"],
        group=1,
        pages=pages,
        page_size=_PAGE_SIZE,
        max_prompt=longest,
        max_new_tokens=new,
        read_tokens=256,
        read_prompts=8,
        reads=2,
        stop_ids=1,
        candidates=max(len(workload["candidates"]), 1),
        grammars=1,
        grammar_states=1,
        grammar_classes=1,
    )
    # No token ends a completion, only its limit.
    return engines.Engine(
        graphdef,
        model.config,
        model.compute,
        sizes,
        end_id=-1,
        share_prefixes=job["share_prefix"],
    )


def _answer(
    engine: engines.Engine, params: nnx.State, asked: Sequence[Request]
) -> measure_engine.Answers:
    """Returns tokens or scores in the order of the requests."""
    places = {engine.submit(request): i for i, request in enumerate(asked)}
    answers: list[list] = [[] for _ in asked]
    while engine.busy:
        for part in engine.step(params):
            found = part.scores.candidates if part.scores else part.completion.tokens
            answers[places[part.request]] = list(found)
    return answers


if __name__ == "__main__":
    allocator.keep_freed_memory()  # as `run.py` does
    with jax.set_mesh(sharding.make_mesh(data=1, model=1)):
        measure_engine.main(load, make, packages=("jax", "jaxlib", "flax"))
