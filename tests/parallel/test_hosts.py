"""Tests for datachef_jax/parallel/hosts.py and what else two processes share."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from datachef_jax.parallel import hosts
from datachef_jax.training import checkpoint

_SCRIPT = pathlib.Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Returns what two processes have seen, and where they saved."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, str(_SCRIPT), coordinator, str(i), str(folder)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    return [json.loads(out.splitlines()[-1]) for out, _ in ended], folder


def test_what_each_made_of_its_share_reaches_all_in_the_order_of_the_items(both):
    expected = [{"a": 0}, {"b": 1}, {"c": 0}, {"d": 1}, {"e": 0}]
    assert [seen["joined"] for seen in both[0]] == [expected, expected]


def test_they_compute_together_and_one_of_them_alone(both):
    assert [seen["total"] for seen in both[0]] == [140.0, 140.0]
    assert [seen.get("alone") for seen in both[0]] == [None, 5.0]


def test_a_signal_to_one_stops_both_at_the_same_call(both):
    first, second = (seen["stopped"] for seen in both[0])
    assert first == second >= 3


def test_what_two_processes_saved_one_restores(both, mesh):
    place = jax.NamedSharding(mesh, jax.P("data"))
    like = {"x": jax.ShapeDtypeStruct((8,), np.float32, sharding=place)}
    restored = checkpoint.restore_latest(both[1], like)
    assert restored.step == 7 and restored.position == {"at": "seven"}
    np.testing.assert_array_equal(restored.arrays["x"], np.arange(8))


def test_a_process_alone_has_all_shares():
    assert hosts.share([1, 2, 3]) == [1, 2, 3]
    assert hosts.join(["x"], 1) == ["x"]
