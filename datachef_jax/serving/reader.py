"""The text of a completion, as its tokens come."""

import codecs
from collections.abc import Sequence

Pieces = Sequence[bytes | None]
"""What each token adds to a text, as from `ChatTokenizer.pieces`."""


def piece_of(pieces: Pieces, token: int) -> bytes:
    """Returns what a token adds to a text; nothing, if it is special or unknown."""
    return (pieces[token] if token < len(pieces) else None) or b""


class Reader:
    """Reads tokens one after the other, up to the first stop string.

    What it finds depends on the tokens alone, not on how many come at a time. Where
    the bytes of a completion are not UTF-8, its text has U+FFFD.

    Attributes:
      text: All there is, but the stop string and what follows it.
      count: Tokens read: none after the one that completes a stop string.
      stopped: Whether there was a stop string.
    """

    def __init__(self, pieces: Pieces, stop_strings: Sequence[str]):
        """Begins an empty text.

        Args:
          pieces: Of the tokenizer; tokens beyond them add nothing.
          stop_strings: Not empty ones.
        """
        self._pieces = pieces
        self._stops = tuple(stop_strings)
        # A match may begin so many characters before what a token adds.
        self._reach = max(map(len, self._stops), default=1) - 1
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._seen: list[int] = []
        self._told = 0
        self.text = ""
        self.stopped = False

    @property
    def count(self) -> int:
        """Says how many tokens have been read."""
        return len(self._seen)

    def follows(self, tokens: Sequence[int]) -> bool:
        """Says whether what was read is the beginning of these tokens, or all."""
        both = min(len(self._seen), len(tokens))
        return self._seen[:both] == list(tokens[:both])

    def read(self, tokens: Sequence[int]) -> None:
        """Reads on.

        Args:
          tokens: All of the completion's so far; those read before are passed over.
        """
        for token in tokens[len(self._seen) :]:
            self.read_one(token)

    def read_one(self, token: int) -> None:
        """Reads the next token, unless a stop string has come."""
        if self.stopped:
            return
        self._seen.append(token)
        if piece := piece_of(self._pieces, token):
            self._append(self._decoder.decode(piece))

    def end(self) -> None:
        """Closes the text: bytes that wait for the rest of a character are no text."""
        if not self.stopped:
            self._append(self._decoder.decode(b"", final=True))

    def tell(self) -> str:
        """Returns what has become certain since the last call.

        The end of a text that could become a stop string waits, as do the bytes of
        half a character.
        """
        certain = len(self.text) - (0 if self.stopped else self._open())
        told, self._told = self._told, max(self._told, certain)
        return self.text[told : self._told]

    def rest(self) -> str:
        """Returns all that has not been told, once the text has ended."""
        told, self._told = self._told, len(self.text)
        return self.text[told:]

    def _append(self, added: str) -> None:
        begin = max(len(self.text) - self._reach, 0)
        self.text += added
        found = [self.text.find(stop, begin) for stop in self._stops]
        found = [place for place in found if place >= 0]
        if found:
            self.text, self.stopped = self.text[: min(found)], True

    def _open(self) -> int:
        """Returns how many of the last characters may belong to a stop string."""
        longest = min(self._reach, len(self.text))
        for length in range(longest, 0, -1):
            tail = self.text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
