"""A client of a model that another machine serves, over HTTP."""

from collections.abc import Iterator, Sequence
from concurrent import futures
import dataclasses
import math
import random
import time
from typing import Any

import httpx2

from datachef_jax.parallel import hosts
from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.sampling.request import Scores
from datachef_jax.serving.client import blame
from datachef_jax.serving.client import Client
from datachef_jax.serving.offer import Offer
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

        Raises:
          ValueError: If the URL is none.
        """
        self._url = f"{url.rstrip('/')}/v1"
        try:
            httpx2.URL(self._url)
        except httpx2.InvalidURL as error:
            raise ValueError(f"{url}: {error}") from error
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

    def check(self, wanted: Offer) -> None:
        """Makes sure that the other side has the model, and that it can do enough.

        Raises:
          ValueError: If not.
          RemoteError: If the other side cannot be reached, or wants another key.
        """
        models = self._call("GET", "models")["data"]
        found = {model["id"]: model for model in models}
        if self._model not in found:
            raise ValueError(f"{self._url} has no {self._model!r} but {sorted(found)}")
        names = [field.name for field in dataclasses.fields(Offer)]
        try:
            offer = Offer(**{name: found[self._model][name] for name in names})
        except KeyError as error:
            raise ValueError(
                f"{self._url} does not say its {error}: is no server of this project"
            ) from error
        if lacking := offer.shortcomings(wanted):
            raise ValueError(f"{self._model!r} at {self._url}: {'; '.join(lacking)}")

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
        answer = self._call("POST", "completions", body | _written(request))
        try:
            return _parts(answer["choices"], request)
        except (LookupError, TypeError) as error:
            raise RemoteError(
                f"{self._url}: not the answer expected: {error}"
            ) from error

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns the answer to a call, made again if need be."""
        problem = ""
        for attempt in range(self._retries + 1):
            if attempt:  # not all who were refused come back at once
                pause = min(0.1 * 2**attempt, _LONGEST_PAUSE)
                time.sleep(pause * random.uniform(0.5, 1.0))
            try:
                response = self._http.request(method, f"{self._url}/{path}", json=body)
            except httpx2.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 200:
                return _json(response)
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


class Shared(Client):
    """A client in a run of several processes, all of which make the same calls.

    Each asks for its share, and hears from the others what came of theirs.
    """

    def __init__(self, client: Client):
        """Asks nothing yet.

        Args:
          client: Of this process alone.
        """
        self._client = client

    def serve(self, requests: Sequence[Request]) -> Iterator[tuple[int, Part]]:
        """See `Client`."""
        own = hosts.share(range(len(requests)))
        parts: list[list[Part]] = [[] for _ in own]
        for i, part in self._client.serve([requests[place] for place in own]):
            parts[i].append(part)
        for place, joined in enumerate(hosts.join(parts, len(requests))):
            for part in joined:
                yield place, part


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


def _json(response: httpx2.Response) -> dict[str, Any]:
    try:
        return response.json()
    except ValueError as error:
        raise RemoteError(f"{response.url}: not JSON: {response.text[:200]}") from error


def _message(response: httpx2.Response) -> str:
    """Returns what an error says, whoever wrote it."""
    try:
        return response.json()["error"]["message"]
    except (LookupError, TypeError, ValueError):
        return response.text[:200]
