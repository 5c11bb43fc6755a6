"""Tests for experiments/bench_floor.py, by hand."""

import dataclasses

from flax import nnx
import jax

from datachef_jax.models.qwen3 import layout
from datachef_jax.models.qwen3.config import Compute
from datachef_jax.models.qwen3.config import Qwen3Config
from experiments import bench_floor

_SIZES = Qwen3Config(
    vocab_size=10, hidden_size=4, intermediate_size=3, num_layers=2, num_heads=2,
    num_kv_heads=1, head_dim=2, rope_theta=1e4, rms_norm_eps=1e-6,
    tie_embeddings=True, max_positions=8,
)  # fmt: skip


def test_bytes_of_a_step_by_hand():
    # Projections 16 + 8 + 8 + 16, feed-forward 36, norms 4 + 4 + 2 + 2; one at the
    # end; the head.
    weights = 2 * (48 + 36 + 12) + 4 + 40
    keys_and_values = 2 * 2 * 2  # layers, both of them, one head of 2
    assert bench_floor.step_bytes(_SIZES, itemsize=4) == (
        4 * weights,
        4 * keys_and_values,
    )


def test_a_step_reads_all_weights_but_the_embedding_that_is_no_head():
    compute = Compute(
        dtype="float32",
        param_dtype="float32",
        remat="none",
        shard_sequence=False,
        unroll=1,
    )
    for tied, unread in ((True, 0), (False, 40)):
        sizes = dataclasses.replace(_SIZES, tie_embeddings=tied)
        shapes = nnx.state(layout.abstract(sizes, compute), nnx.Param)
        count = sum(x.size for x in jax.tree.leaves(shapes))
        assert bench_floor.step_bytes(sizes, itemsize=1)[0] == count - unread


def test_bytes_of_continuous_batching_by_hand():
    # Two slots. Steps 1-2: rows 0 and 1; row 1 ends, row 2 has its slot in steps 3-4,
    # row 0 ends after step 3, row 3 has step 4: four steps.
    # Context before each new token: 5+6+7, 1+2, 3+4 and 2 tokens.
    moved = bench_floor.decode_bytes(
        [5, 1, 3, 2], [3, 2, 2, 1], slots=2, weight_bytes=1000, token_bytes=10
    )
    assert moved == 4 * 1000 + 10 * (18 + 3 + 7 + 2)


def test_more_slots_than_rows_need_the_steps_of_the_longest_row():
    rows = {"weight_bytes": 1000, "token_bytes": 1}
    assert bench_floor.decode_bytes([1, 1], [1, 4], slots=8, **rows) == 4000 + 1 + 10
    assert bench_floor.decode_bytes([1, 1], [1, 4], slots=1, **rows) == 5000 + 1 + 10
