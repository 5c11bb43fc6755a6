"""A client of a model that another machine serves, over HTTP."""

from collections.abc import Iterator, Sequence
from concurrent import futures
import math
import random
import time
from typing import Any

import httpx2

from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.sampling.request import Scores
from datachef_jax.serving.client import blame
from datachef_jax.serving.client import Client
from datachef_jax.types import Completion

_REASONS = {"stop": "end", "length": "length"}
_TRY_AGAIN = (429, 502, 503)  # full, or between two starts
_LONGEST_PAUSE = 30.0  # seconds


class RemoteError(RuntimeError):
    """The other machine cannot be reached, or has failed."""


class Remote(Client):
    """A model served by `configs/serve.py`, wherever that is.

    What it answers is, bit for bit, what the engine there gives: JSON keeps all of a
    float. Requests have the priority that is set there, and no grammar.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str,
        connections: int,
        seconds: float,
        retries: int,
    ):
        """Does not connect yet.

        Args:
          url: Like `http://host:8000`.
          model: Its name there.
          key: That the other side wants; "" for none.
          connections: Requests sent at a time.
          seconds: That one may take.
          retries: Times that one is sent again, after longer and longer pauses, when
            the other side is full or cannot be reached.
        """
        self._url = f"{url.rstrip('/')}/v1/completions"
        self._model = model
        self._connections = connections
        self._seconds = seconds
        self._retries = retries
        self._http = httpx2.Client(
            headers={"authorization": f"Bearer {key}"} if key else {},
            # The other side gives up first, and says so.
            timeout=httpx2.Timeout(seconds + 10.0, connect=10.0),
            limits=httpx2.Limits(max_connections=connections),
        )

    def serve(self, requests: Sequence[Request]) -> Iterator[tuple[int, Part]]:
        """See `Client`.

        Raises:
          RemoteError: If the other side cannot be reached, or has failed.
          TimeoutError: If a request takes too long.
        """
        pool = futures.ThreadPoolExecutor(self._connections)
        try:
            asked = {pool.submit(self._ask, each): i for i, each in enumerate(requests)}
            for done in futures.as_completed(asked):
                with blame(asked[done]):
                    parts = done.result()
                for part in parts:
                    yield asked[done], part
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def _ask(self, request: Request) -> list[Part]:
        """Sends a request, again if need be, and reads the answer."""
        body = {"model": self._model, "deadline_seconds": self._seconds}
        answer = self._post(body | _written(request))
        try:
            return _parts(answer["choices"], request)
        except (LookupError, TypeError) as error:
            raise RemoteError(
                f"{self._url}: not the answer expected: {error}"
            ) from error

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        problem = ""
        for attempt in range(self._retries + 1):
            if attempt:  # not all who were refused come back at once
                pause = min(0.1 * 2**attempt, _LONGEST_PAUSE)
                time.sleep(pause * random.uniform(0.5, 1.0))
            try:
                response = self._http.post(self._url, json=body)
            except httpx2.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 200:
                return response.json()
            problem = f"{response.status_code}: {_message(response)}"
            if response.status_code not in _TRY_AGAIN:
                break
        self._raise(problem)

    def _raise(self, problem: str) -> None:
        match problem[:3]:
            case "400":
                raise ValueError(f"{self._url} says {problem}")
            case "504":
                raise TimeoutError(f"{self._url} says {problem}")
        raise RemoteError(f"{self._url} says {problem}")


def _written(request: Request) -> dict[str, Any]:
    """Returns the fields of a request."""
    body: dict[str, Any] = {"prompt": list(request.prompt), "max_tokens": 0}
    if request.candidates:
        body["candidates"] = list(request.candidates)
    if request.prompt_logprobs:
        body |= {"echo": True, "logprobs": 0}
    if request.seeds:
        body |= {"n": len(request.seeds), "seeds": list(request.seeds)}
        body |= {"return_token_ids": True, **_drawn(request.sampling)}
    return body


def _drawn(sampling: Sampling) -> dict[str, Any]:
    if sampling.grammar is not None:
        raise ValueError(
            "a compiled grammar cannot be sent; the endpoint takes `regex`"
        )
    return {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "stop_token_ids": list(sampling.stop_ids),
    }


def _parts(choices: list[dict[str, Any]], request: Request) -> list[Part]:
    """Returns what an answer holds, as an engine would tell it."""
    parts = []
    if request.scored:
        prompt = ()
        if request.prompt_logprobs:
            own = choices[0]["logprobs"]["token_logprobs"]
            prompt = _floats(own[1 : len(request.prompt)])
        found = choices[0]["candidate_logprobs"] if request.candidates else ()
        scores = Scores(candidates=_floats(found), prompt=prompt)
        parts.append(Part(request=0, sample=None, scores=scores))
    for sample in range(len(request.seeds)):
        choice = choices[sample]
        completion = Completion(
            tokens=tuple(choice["token_ids"]),
            logprobs=_floats(choice["sampling_logprobs"]),
            raw_logprobs=_floats(choice["raw_logprobs"]),
            versions=tuple(choice["versions"]),
            ended=_REASONS[choice["finish_reason"]],
        )
        parts.append(Part(request=0, sample=sample, completion=completion))
    return parts


def _floats(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def _message(response: httpx2.Response) -> str:
    """Returns what an error says, whoever wrote it."""
    try:
        return response.json()["error"]["message"]
    except (LookupError, TypeError, ValueError):
        return response.text[:200]
