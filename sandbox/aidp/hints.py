"""What there is instead, for the author of a script that failed."""

import inspect
import resource

from sandbox import aidp
from sandbox.aidp import session


def hints(error: BaseException) -> list[str]:
    """Returns what Python's own words on an error do not say, in lines for the log."""
    run = session.current()
    toolkit = ", ".join(aidp.__all__)
    found = []
    if isinstance(error, LookupError | ValueError | AttributeError):
        for id, columns in run.loaded.items():
            found.append(f"[{id} was loaded with the columns {columns}]")
    if isinstance(error, OSError | ImportError):
        found.append(
            "[scripts have no network, cannot start processes and see datasets only"
            f" through load_remote_dataset(id); the datasets are {list(run.sources)};"
            " they may write below their own directory, training rows to"
            " data/processed/*.jsonl]"
        )
    if isinstance(error, NameError | ImportError):
        found.append(f"[the toolkit, aidp, has {toolkit}]")
    if isinstance(error, RuntimeError) and "new thread" in str(error):
        most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        found.append(f"[a script may have {most} threads]")
    name = str(error).partition("(")[0]
    if isinstance(error, TypeError) and name in aidp.__all__:
        shown = inspect.signature(getattr(aidp, name))
        named = ", ".join(str(p).partition(":")[0] for p in shown.parameters.values())
        found.append(f"[it is {name}({named})]")
    return found
