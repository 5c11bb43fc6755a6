"""How much an engine has room for: from what is asked of it and the free memory."""

import math

import jax
from jax.typing import DTypeLike
import psutil

from datachef_jax.models.qwen3 import decoder
from datachef_jax.models.qwen3.config import Qwen3Config
from datachef_jax.parallel import sharding
from datachef_jax.sampling.state import Sizes

_READ_PROMPTS = 8  # prompts read side by side
_AHEAD = 32  # prompts on the device that wait for a row, or to be scored
_READS = 2  # batches of prompts' tokens between two tokens of every row


def plan(
    config: Qwen3Config,
    dtype: DTypeLike,
    *,
    rows: int,
    group: int,
    max_prompt: int,
    max_new_tokens: int,
    page_size: int,
    read_tokens: int,
    free_bytes: int,
    candidates: int = 0,
    stop_ids: int = 0,
    grammars: int = 0,
    grammar_states: int = 1,
    grammar_classes: int = 1,
) -> Sizes:
    """Sizes an engine for its requests.

    The pool has pages for all rows at their longest, each group sharing a prompt, and
    for the prompts that are read beside them; or as many as there is memory for: then
    some requests wait, or are preempted.

    What is not named here is as in `Sizes`.

    Args:
      config: The model's sizes.
      dtype: Of keys and values.
      group: Completions of one prompt, usually and at most.
      free_bytes: That pages may take on one device.

    Raises:
      ValueError: If not even one request fits, and the message has the numbers; or if
        the page size is no power of two; or if there are rows, but no tokens for them,
        or the other way round; or if no kernel reads such keys and values.
    """
    if page_size & (page_size - 1):
        raise ValueError(f"page_size {page_size} is not a power of two")
    if rows < 0 or bool(rows) != bool(max_new_tokens):
        raise ValueError(f"{rows} rows for completions of {max_new_tokens} tokens")
    prompt_pages = -(-max_prompt // page_size)
    own_pages = -(-max_new_tokens // page_size) + 1 if rows else 0
    decoding = -(-rows // group)
    wanted = rows * own_pages + (decoding + _READ_PROMPTS) * prompt_pages
    least = prompt_pages + own_pages
    each = page_bytes(config, dtype, page_size=page_size)
    pages = min(wanted, free_bytes // each)
    if pages < least:
        raise ValueError(
            f"{max(free_bytes, 0)} bytes of free memory hold {max(pages, 0)} pages of "
            f"{each}; one completion of {max_prompt} + {max_new_tokens} tokens needs "
            f"{least}"
        )
    return Sizes(
        rows=rows,
        prompts=decoding + _AHEAD,
        group=group,
        pages=pages,
        page_size=page_size,
        max_prompt=max_prompt,
        max_new_tokens=max_new_tokens,
        read_tokens=read_tokens,
        read_prompts=_READ_PROMPTS,
        reads=_READS,
        stop_ids=stop_ids,
        candidates=candidates,
        grammars=grammars,
        grammar_states=grammar_states,
        grammar_classes=grammar_classes,
    )


def page_bytes(config: Qwen3Config, dtype: DTypeLike, *, page_size: int) -> int:
    """Returns what a page of all layers takes on one device."""
    pages = jax.eval_shape(
        lambda: decoder.empty(config, dtype, count=1, size=page_size, decodes=True)
    )
    ways = sharding.ways("kv_heads")
    split = ways if config.num_kv_heads % ways == 0 else 1
    arrays = jax.tree.leaves(pages)
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays) // split


def free_bytes() -> int:
    """Returns the free memory of the fullest of this process's devices.

    On a CPU, whose devices share the host's memory, a device's part of that.
    """
    devices = jax.local_devices()
    reports = [device.memory_stats() for device in devices]
    if any(report is None for report in reports):
        return psutil.virtual_memory().available // len(devices)
    return min(report["bytes_limit"] - report["bytes_in_use"] for report in reports)
