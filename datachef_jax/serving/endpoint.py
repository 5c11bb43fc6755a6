"""The HTTP endpoint, in OpenAI's protocol, on the scheduler.

  GET  /health, /statistics, /v1/models
  POST /v1/completions, /v1/chat/completions: their fields stand in `asked.py`

All but /health want the key, if there is one. Nothing is read, kept waiting or computed
without a bound.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
import dataclasses
import hmac
import json
import logging
import secrets
import time
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import Response
from starlette.responses import StreamingResponse
from starlette.routing import Route

from datachef_jax.serving import replies
from datachef_jax.serving import ticket as tickets
from datachef_jax.serving.asked import Reading
from datachef_jax.serving.fields import BadField
from datachef_jax.serving.job import event
from datachef_jax.serving.job import Job
from datachef_jax.serving.offer import Offer
from datachef_jax.serving.reader import Pieces
from datachef_jax.serving.scheduler import Scheduler

_LOG = logging.getLogger(__name__)
_LOCAL = ["localhost", "127.0.0.1", "[::1]"]
Handler = Callable[[Request], Awaitable[Response]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A model of the scheduler, as the endpoint offers it.

    Attributes:
      reading: Reads bodies for it.
      pieces: Of its tokenizer.
      offer: What it can do.
    """

    reading: Reading
    pieces: Pieces
    offer: Offer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one connection may cost.

    Attributes:
      body_bytes: Of a body.
      body_seconds: In which it must have come.
    """

    body_bytes: int
    body_seconds: float


class Endpoint:
    """Answers requests over HTTP; `app` is what a server runs."""

    def __init__(
        self,
        scheduler: Scheduler,
        models: Mapping[str, Model],
        *,
        key: str,
        bounds: Bounds,
    ):
        """Makes the app.

        Args:
          scheduler: Has these models.
          models: By name.
          key: That callers must show; "" for none, and then only those are heard who
            call this machine by a name of its own: not a web page that found it.
          bounds: See there.
        """
        self._scheduler = scheduler
        self._models = models
        self._key = key.encode()
        self._bounds = bounds
        self._started = int(time.time())
        local = Middleware(TrustedHostMiddleware, allowed_hosts=_LOCAL)
        self.app = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/statistics", self._guarded(self._statistics)),
                Route("/v1/models", self._guarded(self._list_models)),
                Route(
                    "/v1/completions", self._guarded(self._complete), methods=["POST"]
                ),
                Route(
                    "/v1/chat/completions", self._guarded(self._chat), methods=["POST"]
                ),
            ],
            middleware=[] if key else [local],
            exception_handlers={HTTPException: _elsewhere},
        )

    async def _health(self, request: Request) -> Response:
        del request
        failures = self._scheduler.failures()
        if failures:
            names = {name: type(e).__name__ for name, e in failures.items()}
            return JSONResponse({"status": "failed", "models": names}, 503)
        return JSONResponse({"status": "ok"})

    async def _statistics(self, request: Request) -> Response:
        del request
        return JSONResponse(await run_in_threadpool(self._scheduler.statistics))

    async def _list_models(self, request: Request) -> Response:
        del request
        owned = {"object": "model", "created": self._started, "owned_by": "datachef"}
        models = [
            {"id": name, **owned, **dataclasses.asdict(model.offer)}
            for name, model in self._models.items()
        ]
        return JSONResponse({"object": "list", "data": models})

    async def _complete(self, request: Request) -> Response:
        return await self._answer(request, Reading.completion, replies.Text)

    async def _chat(self, request: Request) -> Response:
        return await self._answer(request, Reading.chat, replies.Chat)

    async def _answer(
        self, request: Request, read: Callable, forms: type[replies.Forms]
    ) -> Response:
        body = await self._body(request)
        name = body.get("model")
        if not isinstance(name, str) or name not in self._models:
            problem = f"must be one of {sorted(self._models)}"
            return _error(404, str(BadField("model", name, problem)), field="model")
        model = self._models[name]

        asked = await run_in_threadpool(read, model.reading, body)
        form = forms(
            asked,
            model.pieces,
            model=name,
            id=secrets.token_hex(12),
            time=int(time.time()),
        )
        job = Job(asked, form, model.pieces)
        job.start(self._scheduler, name)
        if asked.stream:
            return StreamingResponse(_events(job), media_type="text/event-stream")
        return await _whole(request, job)

    async def _body(self, request: Request) -> dict[str, Any]:
        """Reads a JSON object, and not a byte more than is allowed.

        Raises:
          HTTPException: If it is too large, too slow or of another type.
          ValueError: If it is none.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind.lower() != "application/json":  # what a form on a web page cannot send
            raise HTTPException(415, f"content-type {kind!r} is not application/json")
        most, content = self._bounds.body_bytes, bytearray()
        try:
            async with asyncio.timeout(self._bounds.body_seconds):
                async for part in request.stream():
                    content += part
                    if len(content) > most:
                        raise HTTPException(413, f"the body has more than {most} bytes")
        except TimeoutError as error:
            seconds = self._bounds.body_seconds
            raise HTTPException(408, f"the body took over {seconds:g} s") from error
        try:
            body = json.loads(content)
        except RecursionError as error:
            raise ValueError("the body is nested too deeply") from error
        if not isinstance(body, dict):
            raise ValueError("the body must be a JSON object")
        return body

    def _guarded(self, handler: Handler) -> Handler:
        """Wants the key, and turns what can go wrong into errors of the protocol."""

        async def handle(request: Request) -> Response:
            shown = request.headers.get("authorization", "").encode()
            if self._key and not hmac.compare_digest(shown, b"Bearer " + self._key):
                message = "the key is missing or wrong"
                return _error(401, message, code="invalid_api_key")
            try:
                return await handler(request)
            except (ClientDisconnect, HTTPException):
                raise
            except Exception as error:  # each has its status; ours are 500
                return _failed(error)

        return handle


async def _whole(request: Request, job: Job) -> Response:
    """Waits for the whole answer, as long as the client does."""
    answer = asyncio.create_task(job.whole())
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return JSONResponse(answer.result())
        raise ClientDisconnect
    finally:
        answer.cancel()
        gone.cancel()
        job.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(job: Job) -> AsyncIterator[str]:
    """Yields a stream's events; an error is the last of them."""
    try:
        async for each in job.stream():
            yield each
    except Exception as error:  # the status has long been sent
        yield event(json.loads(_failed(error).body))
    finally:
        job.cancel()


def _failed(error: Exception) -> Response:
    """Returns the answer to a request that failed."""
    match error:
        case BadField():
            return _error(400, str(error), field=error.field)
        case tickets.QueueFull():
            return _error(429, str(error), code="queue_full", kind="rate_limit_error")
        case tickets.DeadlinePassed():
            return _error(504, str(error), code="deadline", kind="timeout_error")
        case tickets.Closed() | tickets.Cancelled():
            return _error(503, str(error), kind="server_error")
        case ValueError():
            return _error(400, str(error))
    _LOG.error("a request failed", exc_info=error)
    return _error(500, f"{type(error).__name__}: see the log", kind="server_error")


def _error(
    status: int,
    message: str,
    *,
    field: str | None = None,
    code: str | None = None,
    kind: str = "invalid_request_error",
) -> Response:
    content = replies.error(message, kind=kind, field=field, code=code)
    return JSONResponse(content, status)


async def _elsewhere(request: Request, error: Exception) -> Response:
    """Answers what no handler does: an unknown path, or a body refused on the way."""
    del request
    return _error(error.status_code, error.detail)
