"""Tests for datachef_jax/verifier/memory.py."""

from datachef_jax.verifier import memory


def test_what_was_asked_for_last_is_kept_and_nothing_computed_twice():
    asked = []

    def double(keys):
        asked.append(list(keys))
        return [2 * key for key in keys]

    known = memory.Memory(3)
    assert known.recall([1, 2, 1], double) == {1: 2, 2: 4}
    assert known.recall([3, 1], double) == {3: 6, 1: 2}
    # More than it keeps; 2 has been asked for before the others.
    assert known.recall([4], double) == {4: 8} and len(known) == 3
    assert known.recall([1, 3, 4, 2], double) == {1: 2, 3: 6, 4: 8, 2: 4}
    assert known.recall([], double) == {} and len(known) == 3
    assert asked == [[1, 2], [3], [4], [2], []]
