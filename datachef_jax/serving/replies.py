"""What the HTTP endpoint answers, in OpenAI's forms."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from datachef_jax.sampling import wire
from datachef_jax.sampling.request import Scores
from datachef_jax.serving.asked import Asked
from datachef_jax.serving.reader import piece_of
from datachef_jax.serving.reader import Pieces
from datachef_jax.serving.reader import Reader
from datachef_jax.types import Completion

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delta:
    """What is new of a completion.

    Attributes:
      index: Which completion of the body.
      text: That has become certain; it may lag behind the tokens.
      tokens: New ones.
      at: Where the text of each begins in the completion's.
      first: Whether nothing came before.
      ended: Why it ends with this, as OpenAI says it; None if it goes on.
    """

    index: int
    text: str
    tokens: Completion
    at: tuple[int, ...]
    first: bool
    ended: str | None


class Choice:
    """A completion on its way to a client."""

    def __init__(self, index: int, pieces: Pieces, stop_strings: Sequence[str]):
        """Begins with nothing.

        Args:
          index: Which completion of the body.
          pieces: Of the tokenizer.
          stop_strings: Where its text ends.
        """
        self._index = index
        self._reader = Reader(pieces, stop_strings)
        self._sent = 0
        self._begun = False

    def read(self, completion: Completion) -> Delta:
        """Returns what a draft, or the whole completion, adds to those before it."""
        ended = completion.ended != wire.RUNNING
        begin, at = self._sent, []
        for token in completion.tokens[begin:]:
            at.append(len(self._reader.text))
            self._reader.read_one(token)
        if ended:
            self._reader.end()
        first, self._begun = not self._begun, True
        self._sent = max(begin, len(completion.tokens))
        return Delta(
            index=self._index,
            text=self._reader.rest() if ended else self._reader.tell(),
            tokens=_since(completion, begin),
            at=tuple(at),
            first=first,
            ended=_reason(completion) if ended else None,
        )


class Forms:
    """Writes one body's answer; `Text` and `Chat` say how.

    Attributes:
      whole: The name of a whole answer.
      part: The name of a chunk of a stream.
      prefix: What its id begins with.
    """

    whole: str
    part: str
    prefix: str

    def __init__(self, asked: Asked, pieces: Pieces, *, model: str, id: str, time: int):
        """Notes what all answers to this body have.

        Args:
          asked: The body.
          pieces: Of the tokenizer.
          model: Its name.
          id: Random.
          time: In seconds since 1970.
        """
        self._asked = asked
        self._pieces = pieces
        self._head = {"id": f"{self.prefix}-{id}", "created": time, "model": model}
        self._read = sum(len(request.prompt) for request in asked.requests)

    def choice(self, delta: Delta, *, stream: bool) -> Json:
        """Returns an entry of `choices`."""
        raise NotImplementedError

    def scored(self, index: int, scores: Scores) -> Json:
        """Returns what the scores of a prompt add to the entry of its completion."""
        request = self._asked.requests[index]
        fields: Json = {}
        if request.candidates:
            fields["candidate_logprobs"] = _finite(scores.candidates)
        return fields

    def answer(self, choices: list[Json], drawn: int) -> Json:
        """Returns a whole answer.

        Args:
          choices: In order.
          drawn: Tokens of all completions.
        """
        head = {"object": self.whole, **self._head}
        return head | {"choices": choices, "usage": self._usage(drawn)}

    def chunk(self, choices: list[Json]) -> Json:
        """Returns a chunk of a stream."""
        return {"object": self.part, **self._head, "choices": choices}

    def usage(self, drawn: int) -> Json:
        """Returns the chunk that counts tokens."""
        return self.chunk([]) | {"usage": self._usage(drawn)}

    def _usage(self, drawn: int) -> Json:
        read = self._read
        return {
            "prompt_tokens": read,
            "completion_tokens": drawn,
            "total_tokens": read + drawn,
        }

    def _entry(self, delta: Delta, fields: Json) -> Json:
        entry = {"index": delta.index, **fields, "finish_reason": delta.ended}
        if self._asked.token_ids:
            entry["token_ids"] = list(delta.tokens.tokens)
            entry["sampling_logprobs"] = _finite(delta.tokens.logprobs)
            entry["raw_logprobs"] = _finite(delta.tokens.raw_logprobs)
            entry["versions"] = list(delta.tokens.versions)
        return entry

    def _word(self, token: int) -> str:
        return piece_of(self._pieces, token).decode("utf-8", "replace")


class Text(Forms):
    """The forms of `/v1/completions`."""

    whole = part = "text_completion"
    prefix = "cmpl"

    def choice(self, delta: Delta, *, stream: bool) -> Json:
        """See `Forms`."""
        del stream  # the same
        logprobs = None
        if self._asked.logprobs:
            logprobs = {
                "tokens": [self._word(token) for token in delta.tokens.tokens],
                "token_logprobs": _finite(delta.tokens.raw_logprobs),
                "top_logprobs": None,
                "text_offset": list(delta.at),
            }
        return self._entry(delta, {"text": delta.text, "logprobs": logprobs})

    def echoed(self, index: int, entry: Json, scores: Scores | None) -> Json:
        """Returns an entry with its prompt before it.

        Args:
          index: Of its request.
          entry: From `choice`.
          scores: Of the prompt, where logprobs are wanted.
        """
        reader, at = Reader(self._pieces, ()), []
        prompt = self._asked.requests[index].prompt
        for token in prompt:
            at.append(len(reader.text))
            reader.read_one(token)
        reader.end()
        entry = entry | {"text": reader.text + entry["text"]}
        if scores is not None and self._asked.logprobs:
            own = entry["logprobs"]
            after = [len(reader.text) + place for place in own["text_offset"]]
            entry["logprobs"] = {
                "tokens": [self._word(token) for token in prompt] + own["tokens"],
                "token_logprobs": [None, *_finite(scores.prompt)]
                + own["token_logprobs"],
                "top_logprobs": None,
                "text_offset": at + after,
            }
        return entry


class Chat(Forms):
    """The forms of `/v1/chat/completions`."""

    whole = "chat.completion"
    part = "chat.completion.chunk"
    prefix = "chatcmpl"

    def choice(self, delta: Delta, *, stream: bool) -> Json:
        """See `Forms`."""
        message: Json = {"content": delta.text}
        if delta.first or not stream:
            message = {"role": "assistant", **message}
        if not stream:
            message["refusal"] = None
        logprobs = None
        if self._asked.logprobs:
            said = zip(
                delta.tokens.tokens, _finite(delta.tokens.raw_logprobs), strict=True
            )
            logprobs = {
                "content": [
                    {
                        "token": self._word(token),
                        "logprob": logprob,
                        "bytes": list(piece_of(self._pieces, token)),
                        "top_logprobs": [],
                    }
                    for token, logprob in said
                ],
                "refusal": None,
            }
        name = "delta" if stream else "message"
        return self._entry(delta, {name: message, "logprobs": logprobs})


def error(message: str, *, kind: str, field: str | None, code: str | None) -> Json:
    """Returns an error in OpenAI's form."""
    inner = {"message": message, "type": kind, "param": field, "code": code}
    return {"error": inner}


def nothing(index: int) -> Delta:
    """Returns the completion of a prompt of which only scores are wanted."""
    empty = Completion(
        tokens=(), logprobs=(), raw_logprobs=(), versions=(), ended="length"
    )
    return Delta(index=index, text="", tokens=empty, at=(), first=True, ended="length")


def _reason(completion: Completion) -> str:
    return "stop" if completion.finished else "length"


def _since(completion: Completion, begin: int) -> Completion:
    return Completion(
        tokens=completion.tokens[begin:],
        logprobs=completion.logprobs[begin:],
        raw_logprobs=completion.raw_logprobs[begin:],
        versions=completion.versions[begin:],
        ended=completion.ended,
    )


def _finite(values: Sequence[float]) -> list[float | None]:
    """Returns numbers as JSON has them: null for what is none, or is infinite."""
    return [value if math.isfinite(value) else None for value in values]
