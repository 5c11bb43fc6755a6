"""A request in the engine, and where its completions meet their stop strings."""

import dataclasses

from datachef_jax.sampling.request import Part
from datachef_jax.serving.reader import Pieces
from datachef_jax.serving.reader import Reader
from datachef_jax.serving.ticket import Ticket
from datachef_jax.types import Completion


class Running:
    """A request in the engine.

    Attributes:
      ticket: Whose it is.
      due: Completions that are to come, and None for scores.
      waits: Whether the device has nothing of it yet.
    """

    def __init__(self, ticket: Ticket, pieces: Pieces):
        """Waits.

        Args:
          ticket: Whose it is.
          pieces: Of the tokenizer.
        """
        self.ticket = ticket
        self.due: set[int | None] = set(range(len(ticket.request.seeds)))
        if ticket.request.scored:
            self.due.add(None)
        self.waits = True
        self._pieces = pieces
        self._readers: dict[int, Reader] = {}  # of completions

    @property
    def watched(self) -> bool:
        """Says whether its completions are looked at before they end."""
        return self.ticket.drafts or bool(self.ticket.stop_strings)

    def cut(self, part: Part) -> tuple[Part, bool]:
        """Cuts a completion, or a draft of one, at its first stop string.

        Returns:
          The part; whether there was a stop string.
        """
        if part.completion is None or not self.ticket.stop_strings:
            return part, False
        tokens = part.completion.tokens
        reader = self._readers.get(part.sample)
        if reader is None or not reader.follows(tokens):
            # Drawn anew with other weights, after it had lost its pages.
            reader = Reader(self._pieces, self.ticket.stop_strings)
            self._readers[part.sample] = reader
        reader.read(tokens)
        if part.completion.finished or part.completion.ended == "length":
            reader.end()
        if not reader.stopped:
            return part, False
        short = _first(part.completion, reader.count)
        return dataclasses.replace(part, completion=short), True


def _first(completion: Completion, count: int) -> Completion:
    """Returns the first tokens, as a completion that came to its end."""
    return Completion(
        tokens=completion.tokens[:count],
        logprobs=completion.logprobs[:count],
        raw_logprobs=completion.raw_logprobs[:count],
        versions=completion.versions[:count],
        ended="end",
    )
