"""One body's requests under way, from the scheduler's thread to an event loop."""

import asyncio
from collections.abc import AsyncIterator
import functools
import json

from datachef_jax.sampling.request import Part
from datachef_jax.sampling.request import Scores
from datachef_jax.serving import replies
from datachef_jax.serving.asked import Asked
from datachef_jax.serving.reader import Pieces
from datachef_jax.serving.replies import Forms
from datachef_jax.serving.scheduler import Scheduler
from datachef_jax.serving.ticket import Event
from datachef_jax.serving.ticket import Ticket


class Job:
    """Hands in what a body asks for, and writes the answer."""

    def __init__(self, asked: Asked, forms: Forms, pieces: Pieces):
        """Puts it together; nothing is handed in yet.

        Args:
          asked: The body.
          forms: Of the answer.
          pieces: Of the tokenizer.
        """
        self._asked = asked
        self._forms = forms
        self._pieces = pieces
        self._tickets: list[Ticket] = []
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._drawn = 0

    def start(self, scheduler: Scheduler, name: str) -> None:
        """Hands in all requests, or none; in the event loop.

        Raises:
          QueueFull: If there is no room for all of them.
        """
        loop = asyncio.get_running_loop()

        def listen(i: int, event: Event) -> None:
            loop.call_soon_threadsafe(self._events.put_nowait, (i, event))

        try:
            for i, request in enumerate(self._asked.requests):
                ticket = scheduler.submit(
                    name,
                    request,
                    stop_strings=self._asked.stop_strings,
                    seconds=self._asked.seconds,
                    listen=functools.partial(listen, i),
                    drafts=self._asked.stream,
                )
                self._tickets.append(ticket)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Gives up what has not ended."""
        for ticket in self._tickets:
            if not ticket.done:
                ticket.cancel()

    async def whole(self) -> replies.Json:
        """Returns the answer once all of it is there.

        Raises:
          Exception: What a request failed with.
        """
        entries: dict[int, replies.Json] = {}
        scores: dict[int, Scores] = {}
        async for i, part in self._parts():
            if part.scores is not None:
                scores[i] = part.scores
            else:
                choice = self._choice(i, part.sample)
                delta = choice.read(part.completion)
                self._drawn += len(delta.tokens.tokens)
                index = self._index(i, part.sample)
                entries[index] = self._forms.choice(delta, stream=False)
        for i, request in enumerate(self._asked.requests):
            if not request.seeds:
                index = self._index(i, 0)
                delta = replies.nothing(index)
                entries[index] = self._forms.choice(delta, stream=False)
        return self._forms.answer(self._finished(entries, scores), self._drawn)

    async def stream(self) -> AsyncIterator[str]:
        """Yields the answer as server-sent events, the last of which says so.

        Raises:
          Exception: What a request failed with.
        """
        choices = {
            (i, sample): self._choice(i, sample)
            for i in range(len(self._asked.requests))
            for sample in range(self._asked.group)
        }
        async for i, part in self._parts():
            delta = choices[i, part.sample].read(part.completion)
            self._drawn += len(delta.tokens.tokens)
            if delta.tokens.tokens or delta.text or delta.ended:
                entry = self._forms.choice(delta, stream=True)
                yield event(self._forms.chunk([entry]))
        if self._asked.usage:
            yield event(self._forms.usage(self._drawn))
        yield "data: [DONE]\n\n"

    async def _parts(self) -> AsyncIterator[tuple[int, Part]]:
        left = len(self._tickets)
        while left:
            i, heard = await self._events.get()
            if isinstance(heard, Exception):
                raise heard
            left -= heard.last
            yield i, heard

    def _finished(
        self, entries: dict[int, replies.Json], scores: dict[int, Scores]
    ) -> list[replies.Json]:
        """Returns the entries in order, with what is known of their prompts."""
        finished = []
        for index in sorted(entries):
            i = index // self._asked.group
            entry = entries[index]
            if self._asked.echo:
                entry = self._forms.echoed(i, entry, scores.get(i))
            if i in scores:
                entry = entry | self._forms.scored(i, scores[i])
            finished.append(entry)
        return finished

    def _index(self, i: int, sample: int) -> int:
        return i * self._asked.group + sample

    def _choice(self, i: int, sample: int) -> replies.Choice:
        stops = self._asked.stop_strings
        return replies.Choice(self._index(i, sample), self._pieces, stops)


def event(content: replies.Json) -> str:
    """Returns a server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False, allow_nan=False)}\n\n"
