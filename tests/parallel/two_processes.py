"""What each of two processes does in `test_hosts.py`; prints what it has seen.

python tests/parallel/two_processes.py HOST:PORT PROCESS FOLDER
"""

import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from datachef_jax.parallel import hosts  # noqa: E402
from datachef_jax.parallel import sharding  # noqa: E402
from datachef_jax.training import checkpoint  # noqa: E402
from datachef_jax.training import preemption  # noqa: E402


def main(coordinator: str, process: int, folder: str) -> None:
    """Shares work out, computes together and alone, saves, and is told to stop."""
    hosts.start(coordinator=coordinator, processes=2, process=process)
    items = list("abcde")
    made = [{item: process} for item in hosts.share(items)]
    seen = {"joined": hosts.join(made, len(items))}

    with jax.set_mesh(sharding.make_mesh(data=2, model=1)):
        whole = np.arange(8, dtype=np.float32)
        x = jax.device_put(whole, jax.P("data"))
        total = jax.jit(lambda x: sharding.everywhere((x**2).sum()))(x)
        seen["total"] = float(total)
        if process == 1:  # the other one does nothing of the kind
            with jax.set_mesh(hosts.own_mesh()):
                seen["alone"] = float(jax.jit(jnp.sum)(jnp.ones(5)))
        with checkpoint.Saver(folder, keep=1) as saver:
            saver.save(7, {"x": x}, {"at": "seven"})

    notice = preemption.Notice()
    for call in range(200):
        if (process, call) == (0, 3):
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            notice()
        except preemption.Preempted:
            seen["stopped"] = call
            break
        time.sleep(0.05 * (1 + process))  # they do not keep step
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
