"""Attention kernels of TPUs and GPUs, none of which writes a score to memory.

What each takes is said in `Choice`; what runs where, and why, in `choose`. Elsewhere,
and where no kernel can, `attention.causal` does the work in blocks of plain jnp.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple
import warnings

import jax
from jax.experimental.pallas.ops.gpu import attention as triton_attention
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as splash_kernel,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as splash_mask,
)
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from datachef_jax.parallel import sharding

# [batch, time, heads, head_dim], twice [batch, time, kv_heads, head_dim], [batch, time]
Kernel = Callable[[Array, Array, Array, Array | None], Array]

_LANES = 128  # of a TPU's registers: its blocks of queries and keys are multiples
# Compiled for v5e, v5p and v6e, for v5e with heads of up to 256 numbers
# and in float32 as well; which length is fastest was not measured.
_LONGEST_BLOCK = 512
_BACKWARD_BLOCKS = ("block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")
_SPLASH_BLOCKS = ("block_q", "block_kv", *_BACKWARD_BLOCKS)


class Choice(NamedTuple):
    """Which implementation a program uses.

    Attributes:
      name: "splash" (Pallas, TPU), "cudnn", "triton" (Pallas, GPU) or "blocked" (jnp).
      lost: Why it is not the fastest of its platform; "" if it is.
    """

    name: str
    lost: str = ""


def platform() -> str:
    """Returns what is compiled for: the mesh that is set says so, or else JAX does.

    The devices of a mesh need not exist: that is how programs are compiled ahead of
    time. So what matters is not which devices this machine has.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()


def choose(platform: str, dtype: str, *, packed: bool, window: bool) -> Choice:
    """Returns the implementation for one kind of layer and rows.

    Args:
      platform: As `platform` names it.
      dtype: Of queries, keys and values.
      packed: Whether a row may hold several sequences.
      window: Whether tokens see only so many tokens before them.
    """
    narrow = dtype in ("bfloat16", "float16")
    match platform:
        case "tpu":
            return Choice("splash")
        case "gpu" if narrow and not packed:
            return Choice("cudnn")
        case "gpu":
            lost = "packed rows" if narrow else dtype
            if window:
                return Choice(
                    "blocked", f"cuDNN has no {lost}, the Triton kernel no window"
                )
            return Choice("triton", f"cuDNN has no {lost}")
        case _:
            return Choice("blocked")


_said: list[str] = []


def chosen(platform: str, dtype: str) -> dict[str, str]:
    """Returns what a run computes attention with, for its record.

    Args:
      platform: As `platform` names it.
      dtype: Of queries, keys and values.

    Returns:
      The implementation, and what is lost by it, for each kind of rows and layers.
    """
    cases = {
        "one sequence a row": (False, False),
        "packed rows": (True, False),
        "one sequence a row, sliding window": (False, True),
        "packed rows, sliding window": (True, True),
    }
    found = {
        case: choose(platform, dtype, packed=packed, window=window)
        for case, (packed, window) in cases.items()
    }
    return {
        case: f"{choice.name}: {choice.lost}" if choice.lost else choice.name
        for case, choice in found.items()
    }


def warn(choice: Choice) -> None:
    """Says once what is lost, if anything is, and keeps it for `said`."""
    message = f"attention uses {choice.name}: {choice.lost}"
    if choice.lost and message not in _said:
        _said.append(message)
        warnings.warn(message, stacklevel=2)


def said() -> list[str]:
    """Returns what `warn` has said in this process, for a run's record."""
    return list(_said)


def find(choice: Choice, *, window: int | None) -> Kernel:
    """Returns the kernel of a choice, split over the mesh that is set."""
    kernel = {"splash": splash, "cudnn": cudnn, "triton": triton}[choice.name]
    return functools.partial(split, functools.partial(kernel, window=window))


def split(
    kernel: Kernel,
    query: Float[Array, "batch time heads head_dim"],
    key: Float[Array, "batch time kv_heads head_dim"],
    value: Float[Array, "batch time kv_heads head_dim"],
    segments: Int[Array, "batch time"] | None,
) -> Float[Array, "batch time heads head_dim"]:
    """Runs a kernel on each device's rows and heads.

    Where the model axis divides the query heads, but not the key heads, key heads are
    repeated as often as it takes. What an axis cannot divide, all its devices compute.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return kernel(query, key, value, segments)
    heads, kv_heads = query.shape[2], key.shape[2]
    ways = sharding.ways("heads")
    if heads % ways == 0:
        group = heads // kv_heads
        fits = (n for n in range(1, group + 1) if group % n == 0)
        times = next(n for n in fits if kv_heads * n % ways == 0)
        key, value = (jnp.repeat(x, times, axis=2) for x in (key, value))
    spec = functools.partial(sharding.spec, axes=("batch", None, "heads", None))
    rows = None if segments is None else sharding.spec(segments.shape, ("batch", None))
    mapped = jax.shard_map(
        kernel,
        in_specs=(spec(query.shape), spec(key.shape), spec(value.shape), rows),
        out_specs=spec(query.shape),
        check_vma=False,  # Pallas calls do not say over which axes results vary
    )
    return mapped(query, key, value, segments)


def splash(
    query: Float[Array, "batch time heads head_dim"],
    key: Float[Array, "batch time kv_heads head_dim"],
    value: Float[Array, "batch time kv_heads head_dim"],
    segments: Int[Array, "batch time"] | None,
    *,
    window: int | None,
    interpret: bool = False,
) -> Float[Array, "batch time heads head_dim"]:
    """Attends on a TPU, with the sparse flash attention that comes with JAX.

    Blocks that the mask excludes are neither computed nor fetched, and consecutive
    query heads share a key head without copies of it.

    Args:
      query: Queries of all tokens.
      key: Keys of the same tokens.
      value: Their values.
      segments: See `attention.causal`.
      window: How many tokens a token sees, itself included; None for all.
      interpret: Whether to run it in plain JAX instead, on any device.

    Returns:
      The mixed values; those of padding mean nothing.
    """
    time, heads, head_dim = query.shape[1:]
    block = _block(time)
    room = -time % block
    mask = splash_mask.MultiHeadMask([_mask(time + room, window)] * heads)
    run = splash_kernel.make_splash_mha(
        mask,
        block_sizes=splash_kernel.BlockSizes(**dict.fromkeys(_SPLASH_BLOCKS, block)),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    rows = (query * head_dim**-0.5, key, value)
    rows = (_longer(x, room).swapaxes(1, 2) for x in rows)
    if segments is None:
        mixed = jax.vmap(run)(*rows)
    else:
        ids = _longer(segments, room)
        mixed = jax.vmap(run)(*rows, splash_kernel.SegmentIds(q=ids, kv=ids))
    return mixed.swapaxes(1, 2)[:, :time]


def _block(time: int) -> int:
    """Returns the length of the blocks: few of them, and hardly any padding."""
    count = -(-time // _LONGEST_BLOCK)
    return -(-time // (count * _LANES)) * _LANES


def _mask(time: int, window: int | None) -> splash_mask.Mask:
    if window is None or window >= time:
        return splash_mask.CausalMask((time, time))
    return splash_mask.LocalMask((time, time), (window - 1, 0), offset=0)


def cudnn(
    query: Float[Array, "batch time heads head_dim"],
    key: Float[Array, "batch time kv_heads head_dim"],
    value: Float[Array, "batch time kv_heads head_dim"],
    segments: None,
    *,
    window: int | None,
) -> Float[Array, "batch time heads head_dim"]:
    """Attends on a GPU with cuDNN; arguments as for `splash`, one sequence a row."""
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        is_causal=True,
        local_window_size=None if window is None else (window - 1, 0),
        implementation="cudnn",
    )


def triton(
    query: Float[Array, "batch time heads head_dim"],
    key: Float[Array, "batch time kv_heads head_dim"],
    value: Float[Array, "batch time kv_heads head_dim"],
    segments: Int[Array, "batch time"] | None,
    *,
    window: None,
    interpret: bool = False,
) -> Float[Array, "batch time heads head_dim"]:
    """Attends on a GPU with the Pallas kernel of JAX; arguments as for `splash`.

    With heads of 128 numbers its blocks, one of queries and two stages of keys and
    values, are 96 KiB together: smaller GPUs have 99 KiB of shared memory.
    """
    batch, time, heads, head_dim = query.shape
    kv_heads = key.shape[2]
    room = -time % _LANES
    query, key, value = (_longer(x, room) for x in (query, key, value))
    segments = None if segments is None else _longer(segments, room)

    wide = 256 // query.dtype.itemsize
    blocks = triton_attention.BlockSizes(
        block_q=wide, block_k=wide // 2, **dict.fromkeys(_BACKWARD_BLOCKS, 32)
    )

    # Over the queries that share a key head: no copies of the keys.
    @functools.partial(jax.vmap, in_axes=(3, None, None, None), out_axes=3)
    def run(query: Array, key: Array, value: Array, segments: Array | None) -> Array:
        return triton_attention.mha(
            query,
            key,
            value,
            segments,
            sm_scale=head_dim**-0.5,
            causal=True,
            block_sizes=blocks,
            interpret=interpret,
        )

    grouped = query.reshape(batch, time + room, kv_heads, -1, head_dim)
    mixed = run(grouped, key, value, segments)
    return mixed.reshape(batch, time + room, heads, head_dim)[:, :time]


def _longer(x: Array, room: int) -> Array:
    """Returns rows with padding at their ends, which no earlier token sees."""
    return jnp.pad(x, ((0, 0), (0, room)) + ((0, 0),) * (x.ndim - 2))
