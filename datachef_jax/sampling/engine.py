"""The generation engine: prompts in, sampled completions or scores out.

Static batches: a batch decodes until its last row has ended, then the next one
starts. Every batch has the same shape, and no result depends on what else is in it.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import NamedTuple

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32
import numpy as np

from datachef_jax.models.qwen3 import cache
from datachef_jax.parallel import sharding
from datachef_jax.sampling import logits
from datachef_jax.types import Completion

# Prompts read at a time. A constant, as XLA's CPU code gives a prompt other last bits
# among four than among eight, and a completion must not depend on the group size.
PREFILL_PROMPTS = 4


def ignore(count: int):
    """Does nothing with the number of completions that have become ready."""


class Engine:
    """Generates and scores with one model in fixed-shape batches.

    A prompt is padded to the smallest bucket that holds it and only shares batches
    with prompts of the same bucket. So all shapes that its numbers go through follow
    from the prompt itself, and a request gives the same completion bit for bit
    alone, in a crowd and in any other row (on CPU in float32).
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        *,
        rows: int,
        prompt_buckets: Sequence[int],
        max_new_tokens: int,
        end_id: int,
        pad_id: int,
    ):
        """Compiles nothing yet: each bucket is compiled when first used.

        Args:
          graphdef: Of the model, from `nnx.split(model, nnx.Param)`.
          rows: Completions decoded, or prompts scored, at a time. A multiple of 16
            keeps the CPU's vectors full.
          prompt_buckets: Lengths to pad prompts to, in tokens.
          max_new_tokens: Longest completion any call may ask for.
          end_id: The token that ends a completion.
          pad_id: Fills prompts up; any valid id.
        """
        self._graphdef = graphdef
        self._rows = rows
        self._buckets = sorted(prompt_buckets)
        self._max_new_tokens = max_new_tokens
        self._end_id = end_id
        self._pad_id = pad_id
        self._decode = functools.partial(
            decode, graphdef=graphdef, steps=max_new_tokens, end_id=end_id
        )

    def generate(
        self,
        params: nnx.State,
        prompts: Sequence[Sequence[int]],
        *,
        group_size: int,
        seeds: np.ndarray,
        temperature: float,
        max_new_tokens: int,
        progress: Callable[[int], None] = ignore,
    ) -> list[Completion]:
        """Samples `group_size` completions of each prompt.

        Args:
          params: Weights, the other half of the split model.
          prompts: Token ids, at least one each.
          group_size: Completions of each prompt, which share its prefill.
          seeds: uint32, one per completion; a completion is a function of its
            prompt, its seed and the temperature.
          temperature: Of the sampling; 0 takes the likeliest token each time.
          max_new_tokens: Where completions are cut, at most the engine's own limit.
          progress: Told, batch by batch, how many completions have become ready.

        Returns:
          Completions in the order of the seeds, prompt-major.

        Raises:
          ValueError: If a prompt is empty or longer than the largest bucket, or the
            numbers do not fit together.
        """
        self._check(len(prompts), group_size, seeds, max_new_tokens)
        done: list[Completion | None] = [None] * len(seeds)
        for bucket, chosen in self._batches(prompts, self._rows // group_size):
            asked = [prompts[i] for i in chosen]
            hidden, filled = self._prefill(params, asked, bucket, group_size)
            places = [i * group_size + g for i in chosen for g in range(group_size)]
            sampled, _ = self._decode(
                params,
                hidden,
                filled,
                np.resize(seeds[places], self._rows),
                np.arange(self._rows) < len(places),
                np.float32(temperature),
                np.int32(max_new_tokens),
            )
            # Rows beyond `places` only fill up the batch.
            for place, completion in zip(places, self._unpack(sampled), strict=False):
                done[place] = completion
            progress(len(places))
        return done

    def score(
        self,
        params: nnx.State,
        prompts: Sequence[Sequence[int]],
        candidates: Sequence[int],
    ) -> np.ndarray:
        """Returns how likely each candidate is to be the next token of each prompt.

        Args:
          params: Weights, the other half of the split model.
          prompts: Token ids, at least one each.
          candidates: Ids, the same for all prompts.

        Returns:
          float32 [prompts, candidates], natural-log probabilities over the full
          vocabulary.

        Raises:
          ValueError: If a prompt is empty or longer than the largest bucket.
        """
        scores = np.zeros((len(prompts), len(candidates)), np.float32)
        wanted = np.asarray(candidates, np.int32)
        for bucket, chosen in self._batches(prompts, self._rows):
            tokens, lengths = self._pad(
                [prompts[i] for i in chosen], self._rows, bucket
            )
            logprobs = score(params, tokens, lengths, wanted, graphdef=self._graphdef)
            scores[chosen] = np.asarray(logprobs)[: len(chosen)]
        return scores

    def _check(
        self, count: int, group_size: int, seeds: np.ndarray, max_new_tokens: int
    ):
        if not 1 <= group_size <= self._rows:
            raise ValueError(f"group_size {group_size} is not in 1..{self._rows}")
        if not 1 <= max_new_tokens <= self._max_new_tokens:
            raise ValueError(
                f"max_new_tokens {max_new_tokens} is not in 1..{self._max_new_tokens}"
            )
        if seeds.shape != (count * group_size,) or seeds.dtype != np.uint32:
            raise ValueError(
                f"seeds must be {count} x {group_size} uint32, "
                f"got {seeds.dtype}{seeds.shape}"
            )

    def _batches(
        self, prompts: Sequence[Sequence[int]], size: int
    ) -> Iterator[tuple[int, list[int]]]:
        """Yields (bucket, indices of at most `size` prompts that belong in it)."""
        lengths = [len(prompt) for prompt in prompts]
        if min(lengths, default=1) < 1:
            raise ValueError(f"prompt {lengths.index(0)} is empty")
        if max(lengths, default=0) > self._buckets[-1]:
            raise ValueError(
                f"prompt {lengths.index(max(lengths))} has {max(lengths)} tokens, "
                f"the largest of prompt_buckets is {self._buckets[-1]}"
            )
        members: dict[int, list[int]] = {bucket: [] for bucket in self._buckets}
        for i, length in enumerate(lengths):
            members[next(b for b in self._buckets if b >= length)].append(i)
        for bucket, indices in members.items():
            for start in range(0, len(indices), size):
                yield bucket, indices[start : start + size]

    def _prefill(
        self,
        params: nnx.State,
        prompts: Sequence[Sequence[int]],
        bucket: int,
        group_size: int,
    ) -> tuple[Float[Array, "rows embed"], cache.KVCache]:
        """Reads every prompt once and gives each of its group a copy of the cache."""
        parts = []
        for start in range(0, len(prompts), PREFILL_PROMPTS):
            some = prompts[start : start + PREFILL_PROMPTS]
            tokens, lengths = self._pad(some, PREFILL_PROMPTS, bucket)
            parts.append(prefill(params, tokens, lengths, graphdef=self._graphdef))
        source = np.minimum(np.arange(self._rows) // group_size, len(prompts) - 1)
        return spread(
            parts, source.astype(np.int32), slots=bucket + self._max_new_tokens
        )

    def _pad(
        self, prompts: Sequence[Sequence[int]], count: int, bucket: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns tokens [count, bucket] and lengths; missing prompts have length 1."""
        tokens = np.full((count, bucket), self._pad_id, np.int32)
        lengths = np.ones(count, np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
            lengths[row] = len(prompt)
        return tokens, lengths

    def _unpack(self, sampled: "_Sampled") -> Iterator[Completion]:
        host = jax.device_get(sampled)
        for row, length in enumerate(host.lengths):
            tokens = host.tokens[:length, row].tolist()
            yield Completion(
                tokens=tuple(tokens),
                logprobs=tuple(host.logprobs[:length, row].tolist()),
                finished=bool(tokens) and tokens[-1] == self._end_id,
            )


class _Sampled(NamedTuple):
    """The completions of a batch; step-major, so that a step writes one line."""

    tokens: Int[Array, "steps rows"]
    logprobs: Float[Array, "steps rows"]
    lengths: Int[Array, " rows"]  # tokens sampled, with the end token


class _Loop(NamedTuple):
    """What the decoding loop carries from token to token."""

    step: Int[Array, ""]
    live: Bool[Array, " rows"]  # rows that have not ended
    hidden: Float[Array, "rows embed"]  # of the last token so far
    filled: cache.KVCache
    sampled: _Sampled


def _nothing(steps: int, *, rows: int) -> _Sampled:
    return _Sampled(
        tokens=jnp.zeros((steps, rows), jnp.int32),
        logprobs=jnp.zeros((steps, rows)),
        lengths=jnp.zeros(rows, jnp.int32),
    )


@functools.partial(jax.jit, static_argnames="graphdef")
def prefill(
    params: nnx.State,
    prompts: Int[Array, "prompts bucket"],
    lengths: Int[Array, " prompts"],
    *,
    graphdef: nnx.GraphDef,
) -> tuple[Float[Array, "prompts embed"], cache.KVCache]:
    """Returns the hidden state of each prompt's last token, and the cache."""
    model = nnx.merge(graphdef, params)
    return model.prefill(prompts, lengths, max_length=prompts.shape[1])


@functools.partial(jax.jit, static_argnames="slots")
def spread(
    parts: list[tuple[Float[Array, "prompts embed"], cache.KVCache]],
    source: Int[Array, " rows"],
    *,
    slots: int,
) -> tuple[Float[Array, "rows embed"], cache.KVCache]:
    """Gives each row its prompt's state, with room for the completion."""
    hidden, filled = jax.tree.map(lambda *x: jnp.concatenate(x)[source], *parts)
    layers = tuple(
        cache.place(cache.widen(layer, slots=slots)) for layer in filled.layers
    )
    return hidden, cache.KVCache(layers=layers, lengths=filled.lengths)


@functools.partial(
    jax.jit,
    static_argnames=("graphdef", "steps", "end_id"),
    donate_argnames="filled",
)
def decode(
    params: nnx.State,
    hidden: Float[Array, "rows embed"],
    filled: cache.KVCache,
    seeds: UInt32[Array, " rows"],
    live: Bool[Array, " rows"],
    temperature: Float[Array, ""],
    limit: Int[Array, ""],
    *,
    graphdef: nnx.GraphDef,
    steps: int,
    end_id: int,
) -> tuple[_Sampled, cache.KVCache]:
    """Samples until every live row has ended, `limit` (at most `steps`) tokens.

    Nobody needs the cache afterwards: returned, it can stay in the donated memory.
    """
    model = nnx.merge(graphdef, params)

    def unfinished(loop: _Loop) -> Bool[Array, ""]:
        return (loop.step < limit) & loop.live.any()

    def step(loop: _Loop) -> _Loop:
        tokens, logprobs = logits.sample(
            model.logits(loop.hidden), seeds, loop.step, temperature
        )
        hidden, filled = model.decode(tokens, loop.filled)
        sampled = _Sampled(
            tokens=loop.sampled.tokens.at[loop.step].set(tokens),
            logprobs=loop.sampled.logprobs.at[loop.step].set(logprobs),
            lengths=loop.sampled.lengths + loop.live,
        )
        return _Loop(
            step=loop.step + 1,
            live=loop.live & (tokens != end_id),
            hidden=hidden,
            filled=filled,
            sampled=sampled,
        )

    start = _Loop(
        step=jnp.zeros((), jnp.int32),
        live=live,
        hidden=hidden,
        filled=filled,
        sampled=_nothing(steps, rows=seeds.shape[0]),
    )
    end = lax.while_loop(unfinished, step, start)
    return sharding.everywhere(end.sampled), end.filled


@functools.partial(jax.jit, static_argnames="graphdef")
def score(
    params: nnx.State,
    prompts: Int[Array, "rows bucket"],
    lengths: Int[Array, " rows"],
    candidates: Int[Array, " candidates"],
    *,
    graphdef: nnx.GraphDef,
) -> Float[Array, "rows candidates"]:
    """Returns log-probabilities of the candidates after each prompt."""
    model = nnx.merge(graphdef, params)
    bucket = prompts.shape[1]
    hidden, _ = model.prefill(prompts, lengths, max_length=bucket)
    logprobs = jax.nn.log_softmax(model.logits(hidden), axis=-1)
    return sharding.everywhere(logprobs[:, candidates])
