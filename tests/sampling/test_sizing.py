"""Tests for datachef_jax/sampling/sizing.py."""

import dataclasses

import jax
import pytest

from datachef_jax.sampling import sizing
from tests.models.qwen3 import tiny

# Two arrays a layer of 16 positions, 2 heads of 16 numbers of 4 bytes.
_PAGE = 2 * tiny.CONFIG.num_layers * 16 * 4
_PAGE *= tiny.CONFIG.num_kv_heads * tiny.CONFIG.head_dim


def _plan(**changes):
    wanted = dict(
        rows=8,
        group=4,
        max_prompt=40,
        max_new_tokens=20,
        page_size=16,
        read_tokens=64,
        free_bytes=10**9,
    )
    return sizing.plan(tiny.CONFIG, "float32", **(wanted | changes))


def test_a_page_takes_what_its_keys_and_values_take():
    assert sizing.page_bytes(tiny.CONFIG, "float32", page_size=16) == _PAGE
    assert sizing.page_bytes(tiny.CONFIG, "bfloat16", page_size=32) == _PAGE


def test_there_are_pages_for_all_rows_and_the_prompts_beside_them():
    # Three pages a prompt, two groups and eight that are read; three a completion.
    assert _plan().pages == 10 * 3 + 8 * 3
    assert _plan().row_pages == 4


def test_there_are_no_more_pages_than_fit():
    assert _plan(free_bytes=7 * _PAGE + 5).pages == 7


@pytest.mark.parametrize("free", [-3, 5 * _PAGE])
def test_too_little_memory_is_refused_with_the_numbers(free):
    message = (
        f"{max(free, 0)} bytes of free memory hold {max(free // _PAGE, 0)} pages of "
        f"{_PAGE}; one completion of 40 . 20 tokens needs 6"
    )
    with pytest.raises(ValueError, match=message):
        _plan(free_bytes=free)


def test_other_page_sizes_are_refused():
    with pytest.raises(ValueError, match="page_size 48 is not a power of two"):
        _plan(page_size=48)


def test_who_only_scores_has_pages_for_prompts_alone():
    assert _plan(rows=0, max_new_tokens=0).pages == 8 * 3
    with pytest.raises(ValueError, match="0 rows for completions of 20 tokens"):
        _plan(rows=0)
    with pytest.raises(ValueError, match="8 rows for completions of 0 tokens"):
        _plan(max_new_tokens=0)


def test_free_memory_is_measured():
    assert 2**20 < sizing.free_bytes() < 2**50


def test_shared_heads_take_less_on_each_device(mesh):
    config = dataclasses.replace(tiny.CONFIG, num_kv_heads=2, num_heads=4)
    with jax.set_mesh(mesh):
        half = sizing.page_bytes(config, "float32", page_size=16)
    assert 2 * half == sizing.page_bytes(config, "float32", page_size=16)
