"""Tests for experiments/pools.py."""

import pytest

from datachef_jax import types
from experiments import pools
from tests import blank


def _task(name: str) -> types.Task:
    rows = ({"a": 1}, {"a": 2}, {"a": 3})
    sources = (blank.source(f"mini/{letter}", examples=rows) for letter in "abcdef")
    return blank.task(name, sources=tuple(sources))


def _stream(seed: int, *, exchange_ids: bool = False):
    tasks = [_task(name) for name in "uvwxyz"]
    return pools.stream(
        tasks,
        prompts_per_step=3,
        smallest=2,
        largest=4,
        exchange_ids=exchange_ids,
        seed=seed,
    )


def _shown(step) -> list[tuple[str, ...]]:
    return [(task.name, *(source.id for source in task.sources)) for task in step]


def test_every_task_comes_before_any_comes_again():
    stream = _stream(0)
    for _ in range(3):
        names = [task.name for _ in range(2) for task in next(stream)]
        assert sorted(names) == list("uvwxyz")


def test_a_task_shows_a_subset_of_its_sources():
    stream = _stream(0)
    counts = {len(task.sources) for _ in range(20) for task in next(stream)}
    assert counts == {2, 3, 4}


def test_a_source_comes_under_other_ids_and_stays_what_it_is():
    found = {}
    stream = _stream(0, exchange_ids=True)
    for task in [task for _ in range(20) for task in next(stream)]:
        ids = [source.id for source in task.sources]
        assert len(set(ids)) == len(ids)
        for source in task.sources:
            found.setdefault(source.path.name, set()).add(source.id)
    assert found == {letter: {f"mini/{i}" for i in "abcdef"} for letter in "abcdef"}


def test_a_source_shows_each_of_its_rows_in_time():
    stream = _stream(0)
    found = {}
    for task in [task for _ in range(20) for task in next(stream)]:
        for source in task.sources:
            found.setdefault(source.id, set()).add(source.examples[0]["a"])
    assert found == {f"mini/{letter}": {1, 2, 3} for letter in "abcdef"}


def test_the_stream_follows_from_its_seed_and_goes_on_where_it_stood():
    first, second, other = _stream(1), _stream(1), _stream(2)
    steps = [_shown(next(first)) for _ in range(6)]
    assert [_shown(next(second)) for _ in range(3)] == steps[:3]
    assert [_shown(next(other)) for _ in range(3)] != steps[:3]
    resumed = _stream(1)
    resumed.set_state(second.get_state())
    assert [_shown(next(resumed)) for _ in range(3)] == steps[3:]


def test_the_training_tasks_of_several_pools_have_other_files(
    tmp_path,
):
    tasks = pools.mini_training_tasks(2, seed=3, benchmark_size=4, folder=tmp_path)
    assert len({task.name for task in tasks}) == len(tasks) == 18
    assert not any(task.held_out for task in tasks)
    first, second = tasks[:9], tasks[9:]
    shown_alike = 0
    for a, b in zip(first, second, strict=True):
        assert (a.name, b.name) == (f"{a.benchmark[:-2]}-3", f"{a.benchmark[:-2]}-4")
        assert (a.instruction, a.contract) == (b.instruction, b.contract)
        layouts = [
            {source.card: (source.format, source.columns) for source in task.sources}
            for task in (a, b)
        ]
        shown_alike += sum(
            layouts[0][card] == layouts[1][card]
            for card in layouts[0].keys() & layouts[1].keys()
        )
    assert shown_alike <= 3  # of more than 60


def test_an_unknown_pool_is_refused(tmp_path):
    with pytest.raises(ValueError, match="kind must be one of .*'mini'.* got 'maxi'"):
        pools.load("maxi", {}, folder=tmp_path, root=tmp_path)


def test_a_pool_on_real_files_has_no_unseen_questions():
    with pytest.raises(ValueError, match="'real_math' has no questions but"):
        pools.unseen("real_math", [], seed=0)
