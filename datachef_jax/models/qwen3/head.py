"""Log-probabilities of given tokens, without the scores of a whole vocabulary.

For a vocabulary of 151,936 the float32 scores of 8,192 tokens are 4.6 GiB, and a
plain softmax with its gradient keeps several arrays of that size. Here the vocabulary
comes in chunks, forwards with a running maximum as in online softmax (Milakov and
Gimelshein 2018, arXiv:1805.02867), backwards once more from the normalizer; only the
scores of one chunk ever exist. The price is one matrix product in four: scores are
computed twice. Where there are few enough of them, as in a small micro-batch, they are
kept instead.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Few enough scores a token to keep a chunk small beside the hidden states of all
# layers, enough to keep the matrix products wide.
_LARGEST_CHUNK = 2**15
# Scores that are kept for the backward pass: 512 MiB of them.
_MOST_KEPT = 2**27

_Chunks = Float[Array, "ids chunks embed"]


def token_logprobs(
    hidden: Float[Array, "tokens embed"],
    head: Float[Array, "vocab embed"],
    chosen: Int[Array, " tokens"],
    *,
    temperature: float,
) -> tuple[Float[Array, " tokens"], Float[Array, " tokens"]]:
    """Returns the log-probability of each chosen id, and the entropy around it.

    Args:
      hidden: Final hidden state before each chosen token, in the dtype of the products.
      head: Output embedding; its rows are converted to the dtype of `hidden`.
      chosen: Ids.
      temperature: Logits are divided by it; > 0.

    Returns:
      Natural-log probabilities, and entropies in nats of the distributions, both
      float32. No gradient flows through the entropies.

    Raises:
      ValueError: If the vocabulary cannot be divided into equal chunks.
    """
    chunks = _count(head.shape[0])
    # Chunk i has the ids i, i + chunks, i + 2 chunks, ...: with the vocabulary split
    # over devices, every device has its part of every chunk.
    grouped = head.reshape(-1, chunks, head.shape[1])
    return _token_logprobs(hidden, grouped, chosen, temperature)


def _count(vocab: int) -> int:
    """Returns the smallest number of equal chunks that are small enough."""
    fewest = -(-vocab // _LARGEST_CHUNK)
    for chunks in range(fewest, 4 * fewest + 1):
        if vocab % chunks == 0:
            return chunks
    raise ValueError(
        f"a vocabulary of {vocab} has no equal chunks of about {_LARGEST_CHUNK} ids; "
        "pad the embedding to a rounder number"
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _token_logprobs(
    hidden: Float[Array, "tokens embed"],
    head: _Chunks,
    chosen: Int[Array, " tokens"],
    temperature: float,
) -> tuple[Float[Array, " tokens"], Float[Array, " tokens"]]:
    return _forward(hidden, head, chosen, temperature)[0]


def _forward(hidden, head, chosen, temperature):
    keep = hidden.shape[0] * head.shape[0] * head.shape[1] <= _MOST_KEPT

    def add(carry, chunk):
        top, total, weighted, picked = carry
        scores = _scores(hidden, head, chunk, temperature)
        own = _own(head, chosen, chunk)
        higher = jnp.maximum(top, scores.max(-1))
        weights = jnp.exp(scores - higher[:, None])
        shrink = jnp.exp(top - higher)
        total = total * shrink + weights.sum(-1)
        weighted = weighted * shrink + (weights * scores).sum(-1)
        picked = picked + jnp.where(own, scores, 0.0).sum(-1)
        return (higher, total, weighted, picked), scores if keep else None

    zeros = jnp.zeros(hidden.shape[0], jnp.float32)
    lowest = jnp.full_like(zeros, jnp.finfo(jnp.float32).min)
    (top, total, weighted, picked), kept = lax.scan(
        add, (lowest, zeros, zeros, zeros), jnp.arange(head.shape[1])
    )
    normalizer = top + jnp.log(total)
    values = picked - normalizer, normalizer - weighted / total
    return values, (hidden, head, chosen, normalizer, kept)


def _backward(temperature, residuals, slopes):
    hidden, head, chosen, normalizer, kept = residuals
    slope = slopes[0][:, None] / temperature  # the entropies' own are left out

    def add(carry, scanned):
        hidden_slope, head_slope = carry
        chunk, scores = scanned
        if scores is None:
            scores = _scores(hidden, head, chunk, temperature)
        own = _own(head, chosen, chunk)
        part = (own - jnp.exp(scores - normalizer[:, None])) * slope
        part = part.astype(hidden.dtype)
        rows = _rows(head, chunk).astype(hidden.dtype)
        hidden_slope += jnp.matmul(part, rows, preferred_element_type=jnp.float32)
        rows_slope = jnp.matmul(part.T, hidden, preferred_element_type=jnp.float32)
        head_slope = lax.dynamic_update_index_in_dim(
            head_slope, rows_slope.astype(head.dtype), chunk, axis=1
        )
        return (hidden_slope, head_slope), None

    zeros = jnp.zeros(hidden.shape, jnp.float32), jnp.zeros_like(head)
    chunks = jnp.arange(head.shape[1])
    (hidden_slope, head_slope), _ = lax.scan(add, zeros, (chunks, kept))
    return hidden_slope.astype(hidden.dtype), head_slope, None


_token_logprobs.defvjp(_forward, _backward)


def _scores(hidden, head, chunk, temperature):
    """Returns the logits of one chunk."""
    rows = _rows(head, chunk).astype(hidden.dtype)
    scores = jnp.matmul(hidden, rows.T, preferred_element_type=jnp.float32)
    return scores / temperature


def _own(head, chosen, chunk):
    """Says which logits of one chunk are those of chosen ids."""
    ids = jnp.arange(head.shape[0]) * head.shape[1] + chunk
    return ids[None, :] == chosen[:, None]


def _rows(head: _Chunks, chunk: Int[Array, ""]) -> Float[Array, "ids embed"]:
    return lax.dynamic_index_in_dim(head, chunk, axis=1, keepdims=False)
