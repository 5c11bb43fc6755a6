"""The mini job in two processes does what it does in one; both ask one judge."""

import os
import re
import socket
import subprocess
import sys

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest

from tests.experiments.conftest import ROOT

pytestmark = pytest.mark.slow(minutes=4)

_SHORT = (
    *("rl.steps=1", "finetune.steps=2", "evaluation.recipes=2"),
    "held_out_judge.checkpoint=",
)


@pytest.fixture
def judge(start_run, tmp_path):
    """Returns where the judge of `configs/tiny.py` is served."""
    process = start_run(
        f"--config={ROOT / 'configs' / 'serve.py'}",
        f"--workdir={tmp_path / 'judge'}",
        "--config.serve.port=0",
        "--config.engine.max_prompt=256",
        cwd=tmp_path,
    )
    lines = [process.stdout.readline() for _ in range(3)]
    (url,) = re.findall(r"at (http://127\.0\.0\.1:[0-9]+)/v1;", lines[1])
    yield f"{url}/mini-judge"
    process.terminate()
    process.communicate(timeout=60)


def _start(workdir, *arguments, devices: int) -> subprocess.Popen:
    command = [
        sys.executable,
        str(ROOT / "experiments" / "run.py"),
        "--config=configs/tiny.py",
        "--config.mesh.data=2",
        *(f"--config.{setting}" for setting in _SHORT),
        f"--workdir={workdir}",
        *arguments,
    ]
    flags = os.environ.get("XLA_FLAGS", "")
    flags += f" --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        command,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _weights(workdir):
    path = workdir / "grpo" / "seed0" / "checkpoints" / "step_000001" / "data"
    with jax.set_mesh(jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])):
        place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        found = ocp.pytree_metadata(path, checkpointable_name="state").metadata
        like = {
            name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
            for name, x in found.items()
        }
        return ocp.load_checkpointables(path, {"state": like})["state"]


def test_two_processes_do_what_one_does_on_the_same_mesh(tmp_path, judge):
    asked = f"--config.judge.checkpoint={judge}"
    one = _start(tmp_path / "one", asked, devices=2)
    out, err = one.communicate(timeout=900)
    assert one.returncode == 0, err
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"--coordinator=localhost:{free.getsockname()[1]}"
    two = [
        _start(
            tmp_path / "two",
            address,
            asked,
            "--processes=2",
            f"--process={process}",
            devices=1,
        )
        for process in range(2)
    ]
    ended = [process.communicate(timeout=900) for process in two]
    assert [process.returncode for process in two] == [0, 0], ended
    table = out[out.index("|") :]
    assert ended[0][0].endswith(table)
    assert "|" not in ended[1][0]  # the second one does not speak
    for name in ("summary.json", "grpo/seed0/rollouts/step_0000.jsonl"):
        same = (tmp_path / "one" / name).read_bytes()
        assert (tmp_path / "two" / name).read_bytes() == same, name
    expected, got = _weights(tmp_path / "one"), _weights(tmp_path / "two")
    assert len(expected) > 10
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, atol=1e-5, err_msg=name)
