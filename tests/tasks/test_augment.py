"""Tests for datachef_jax/tasks/augment.py; of its other functions see test_pools.py."""

import dataclasses

import numpy as np
import pytest

from datachef_jax.tasks import augment
from datachef_jax.tasks.mini import pool


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return pool.build(tmp_path_factory.mktemp("pool"), seed=0, benchmark_size=8)[0]


def test_every_row_of_a_source_is_shown_in_turn_and_nothing_else_changes(task):
    rng = np.random.default_rng(0)
    shown = [augment.exchange_rows(task, rng) for _ in range(200)]
    for i, source in enumerate(task.sources):
        rows = [str(row) for row in source.examples]
        assert {str(t.sources[i].examples[0]) for t in shown} == set(rows)
        for other in (t.sources[i] for t in shown):
            assert sorted(map(str, other.examples)) == sorted(rows)
            assert dataclasses.replace(other, examples=source.examples) == source


def test_the_rows_of_two_sources_are_drawn_apart(task):
    rng = np.random.default_rng(0)
    orders = set()
    for shown in (augment.exchange_rows(task, rng) for _ in range(50)):
        first = [
            before.examples.index(after.examples[0])
            for before, after in zip(task.sources[:2], shown.sources[:2], strict=True)
        ]
        orders.add(tuple(first))
    assert any(a != b for a, b in orders)
