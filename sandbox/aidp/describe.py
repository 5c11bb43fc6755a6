"""The toolkit as a prompt describes it: its own docstrings."""

import inspect
import textwrap

from sandbox import aidp


def describe() -> str:
    """Returns each function's signature and what its docstring says."""
    return "\n\n".join(_describe(getattr(aidp, name)) for name in aidp.__all__)


def _describe(function) -> str:
    signature = inspect.signature(function)
    shown = [
        str(each.replace(annotation=inspect.Parameter.empty))
        for each in signature.parameters.values()
    ]
    head = f"{function.__name__}({', '.join(shown)})"
    return f"{head}\n{textwrap.indent(inspect.getdoc(function), '    ')}"
