"""What a body of the HTTP endpoint asks for, as requests to an engine.

The fields are OpenAI's, and some more:

  top_k, min_p, stop_token_ids: as for `Sampling`.
  seeds: one for each completion, in place of `seed`. Completion i has seed + i.
  regex (or guided_regex): what a completion must match as a whole.
  candidates: tokens, as ids or texts of one token each, whose logprobs after the
    prompt are to come as `candidate_logprobs` (completions only).
  return_token_ids: with the ids come their logprobs, as drawn and as the model's own,
    and the versions of the weights.
  deadline_seconds: after which the request ends with an error.

`logprobs` are the model's own, before temperature and all else.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import secrets
import threading
from typing import Any

from datachef_jax.sampling.grammar import Grammar
from datachef_jax.sampling.request import Request
from datachef_jax.sampling.request import Sampling
from datachef_jax.serving.fields import BadField
from datachef_jax.serving.fields import Fields
from datachef_jax.serving.fields import is_a
from datachef_jax.text.tokenizer import ChatTokenizer

_SEEDS = 2**32
_MOST_STOPS = 16
_ROLES = {"system": "system", "developer": "system"} | {
    role: role for role in ("user", "assistant")
}
_NO_EFFECT = ("user", "metadata", "safety_identifier", "prompt_cache_key")
_ENGINE_LACKS = {  # fields, and the values of them that ask for nothing
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none",),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "store": (False,),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What one body may ask for.

    Attributes:
      choices: Completions, over all of its prompts; or prompts, where that is more.
      seconds: That it may take; also what it gets if it does not say.
      max_new_tokens: Of a completion that has no limit of its own.
    """

    choices: int
    seconds: float
    max_new_tokens: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A body, understood.

    Attributes:
      requests: One for each prompt.
      group: Completions of each.
      stop_strings: Of all.
      seconds: That it may take.
      stream: Whether tokens are sent as they come.
      usage: Whether a stream ends with a count of tokens.
      logprobs: Whether they are wanted.
      echo: Whether the prompt's text stands before each completion.
      token_ids: Whether ids are wanted.
    """

    requests: tuple[Request, ...]
    group: int
    stop_strings: tuple[str, ...]
    seconds: float
    stream: bool
    usage: bool
    logprobs: bool
    echo: bool
    token_ids: bool


Compile = Callable[[str, str], Grammar]
"""Compiles a grammar, given its kind, "regex" or "json_schema", and its text."""


class Reading:
    """Reads bodies for one model, in any thread."""

    def __init__(self, tokenizer: ChatTokenizer, compile: Compile, limits: Limits):
        """Puts it together.

        Args:
          tokenizer: Of the model.
          compile: Makes grammars.
          limits: Of each body.
        """
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # tokenizers are not for several threads
        self._compile = compile
        self._limits = limits

    def completion(self, body: Mapping[str, Any]) -> Asked:
        """Reads the body of `/v1/completions`.

        Raises:
          BadField: If a field cannot be, or is not supported.
        """
        fields = Fields(body)
        prompts = self._prompts(fields.raw("prompt"))
        logprobs = fields.take("logprobs", int)
        if logprobs:
            _refuse_alternatives("logprobs", logprobs)
        limit = fields.take("max_tokens", int, 16, low=0)
        echo = fields.take("echo", bool, False)
        candidates = self._candidates(fields)
        fields.only("best_of", 1, body.get("n"), why="only what is drawn is returned")
        return self._asked(
            fields,
            prompts,
            limit,
            logprobs=logprobs is not None,
            echo=echo,
            candidates=candidates,
        )

    def chat(self, body: Mapping[str, Any]) -> Asked:
        """Reads the body of `/v1/chat/completions`.

        Raises:
          BadField: If a field cannot be, or is not supported.
        """
        fields = Fields(body)
        messages = [_message(each) for each in _messages(fields)]
        with self._lock:
            prompt = tuple(self._tokenizer.chat(messages, generation_prompt=True))
        top = fields.take("top_logprobs", int, 0)
        if top:
            _refuse_alternatives("top_logprobs", top)
        older = fields.take("max_tokens", int, self._limits.max_new_tokens, low=1)
        return self._asked(
            fields,
            [prompt],
            fields.take("max_completion_tokens", int, older, low=1),
            logprobs=fields.take("logprobs", bool, False),
            echo=False,
            candidates=(),
        )

    def _asked(
        self,
        fields: Fields,
        prompts: Sequence[tuple[int, ...]],
        limit: int,
        *,
        logprobs: bool,
        echo: bool,
        candidates: tuple[int, ...],
    ) -> Asked:
        """Reads what both kinds of bodies have."""
        group = fields.take("n", int, 1, low=1, high=self._limits.choices)
        if len(prompts) * group > self._limits.choices:
            raise BadField("n", group, f"above {self._limits.choices} in all")
        if not limit:
            if not candidates and not (echo and logprobs):
                problem = "without echo and logprobs, or candidates"
                raise BadField("max_tokens", limit, problem)
            # Nothing is drawn, however it would be.
            fields.ignore("temperature", "top_p", "top_k", "min_p")
        seeds = _seeds(fields, len(prompts) * group)
        sampling = self._sampling(fields, limit) if limit else None
        most = self._limits.seconds
        stream, usage = _stream(fields)
        if stream and (echo or candidates or not limit):
            raise BadField("stream", True, "echo, scores and no tokens have no stream")
        asked = Asked(
            requests=tuple(
                Request(
                    prompt=prompt,
                    seeds=seeds[i * group : (i + 1) * group] if limit else (),
                    sampling=sampling,
                    candidates=candidates,
                    prompt_logprobs=echo and logprobs,
                )
                for i, prompt in enumerate(prompts)
            ),
            group=group,
            stop_strings=_stop_strings(fields),
            seconds=float(
                fields.take("deadline_seconds", float, most, low=0, high=most)
            ),
            stream=stream,
            usage=usage,
            logprobs=logprobs,
            echo=echo,
            token_ids=fields.take("return_token_ids", bool, False),
        )
        fields.ignore("model", *_NO_EFFECT)
        for name, neutral in _ENGINE_LACKS.items():
            fields.only(name, *neutral, why="is not supported")
        fields.end()
        return asked

    def _sampling(self, fields: Fields, limit: int) -> Sampling:
        stop_ids = fields.take_list("stop_token_ids", int)
        top_p = fields.take("top_p", float, 1.0, low=0, high=1)
        if top_p == 0:
            raise BadField("top_p", top_p, "must be above 0")
        return Sampling(
            max_new_tokens=limit,
            temperature=float(fields.take("temperature", float, 1.0, low=0, high=1e6)),
            top_k=fields.take("top_k", int, 0, low=0, high=2**31 - 1),
            top_p=float(top_p),
            min_p=float(fields.take("min_p", float, 0.0, low=0, high=1)),
            stop_ids=stop_ids,
            grammar=self._grammar(fields),
        )

    def _grammar(self, fields: Fields) -> Grammar | None:
        """Compiles what a completion is held to."""
        found = [
            (name, "regex", pattern)
            for name in ("regex", "guided_regex")
            if (pattern := fields.take(name, str)) is not None
        ]
        form = fields.take("response_format", dict)
        if form is not None and form != {"type": "text"}:
            found.append(("response_format", "json_schema", _schema(form)))
        if not found:
            return None
        if len(found) > 1:
            raise BadField(found[1][0], found[1][2], f"beside {found[0][0]}")
        ((name, kind, text),) = found
        try:
            return self._compile(kind, text)
        except ValueError as error:
            raise BadField(name, text, str(error)) from error

    def _prompts(self, prompt: Any) -> list[tuple[int, ...]]:
        """Returns the ids of one prompt or several, given as texts or as ids."""
        if isinstance(prompt, str) or _is_ids(prompt):
            prompt = [prompt]
        if not isinstance(prompt, list) or not 0 < len(prompt):
            raise BadField("prompt", prompt, "must be texts or token ids")
        if len(prompt) > self._limits.choices:
            raise BadField(
                "prompt", len(prompt), f"at most {self._limits.choices} at a time"
            )
        for each in prompt:
            if not isinstance(each, str) and not _is_ids(each):
                raise BadField("prompt", each, "must be texts or token ids")
        return [
            tuple(self._encode(each) if isinstance(each, str) else each)
            for each in prompt
        ]

    def _encode(self, text: str) -> list[int]:
        with self._lock:
            return self._tokenizer.encode(text)

    def _candidates(self, fields: Fields) -> tuple[int, ...]:
        found = []
        for each in fields.take("candidates", list, []):
            ids = self._encode(each) if isinstance(each, str) else [each]
            if len(ids) != 1 or not is_a(ids[0], int):
                raise BadField("candidates", each, "must be one token each")
            found += ids
        return tuple(found)


def _is_ids(value: Any) -> bool:
    whole = isinstance(value, list) and len(value) > 0
    return whole and all(is_a(each, int) for each in value)


def _seeds(fields: Fields, count: int) -> tuple[int, ...]:
    """Returns a seed for each completion."""
    first = fields.take("seed", int)
    seeds = fields.take_list("seeds", int, None)
    if seeds is None:
        first = secrets.randbelow(_SEEDS) if first is None else first
        return tuple((first + i) % _SEEDS for i in range(count))
    if first is not None or len(seeds) != count:
        raise BadField("seeds", seeds, f"must be {count}, and no seed beside them")
    if not 0 <= min(seeds) <= max(seeds) < _SEEDS:
        raise BadField("seeds", seeds, f"must be in 0..{_SEEDS - 1}")
    return seeds


def _stream(fields: Fields) -> tuple[bool, bool]:
    """Returns whether to stream, and to count tokens at the end of the stream."""
    options = Fields(fields.take("stream_options", dict, {}))
    usage = options.take("include_usage", bool, False)
    options.only("include_obfuscation", True, False, why="is not supported")
    options.end()
    return fields.take("stream", bool, False), usage


def _stop_strings(fields: Fields) -> tuple[str, ...]:
    stop = fields.raw("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    whole = isinstance(stops, list) and len(stops) <= _MOST_STOPS
    if not whole or not all(isinstance(each, str) and each for each in stops):
        problem = f"must be one string or up to {_MOST_STOPS}, none empty"
        raise BadField("stop", stop, problem)
    return tuple(stops)


def _refuse_alternatives(name: str, value: int) -> None:
    raise BadField(name, value, "only the drawn token's own is kept; 0 asks for it")


def _schema(form: Mapping[str, Any]) -> str:
    """Returns the JSON schema that a `response_format` asks for."""
    if form == {"type": "json_object"}:
        return json.dumps({"type": "object"})
    inner = form.get("json_schema")
    if form.get("type") != "json_schema" or not isinstance(inner, dict):
        raise BadField("response_format", form, "must be text, json_object or a schema")
    schema = inner.get("schema")
    if not isinstance(schema, dict):
        raise BadField("response_format", form, "json_schema.schema must be an object")
    return json.dumps(schema)


def _messages(fields: Fields) -> tuple:
    messages = fields.take_list("messages", dict, None)
    if not messages:
        raise BadField("messages", messages, "must be at least one message")
    return messages


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    """Returns a message of plain text."""
    fields = Fields(message)
    role, content = fields.take("role", str), fields.raw("content")
    fields.ignore("name")
    fields.only("tool_calls", [], why="is not supported")
    fields.only("refusal", why="is not supported")
    fields.only("annotations", [], why="is not supported")
    fields.only("audio", why="is not supported")
    fields.end()
    if role not in _ROLES:
        raise BadField("messages", role, f"role must be one of {sorted(_ROLES)}")
    if isinstance(content, list):
        parts = [part if isinstance(part, dict) else {} for part in content]
        if any(part.get("type") != "text" for part in parts):
            raise BadField("messages", content, "content must be text")
        content = "".join(str(part.get("text", "")) for part in parts)
    if not isinstance(content, str):
        raise BadField("messages", content, "content must be text")
    return {"role": _ROLES[role], "content": content}
