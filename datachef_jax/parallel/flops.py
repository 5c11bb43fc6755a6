"""How many operations a program takes, by its jaxpr: loops count as often as they run.

XLA's own cost analysis counts the body of a loop once, however long the loop is.
"""

import math

from jax.extend import core


def count(jaxpr: core.Jaxpr, *, while_trips: int) -> int:
    """Returns the floating-point operations of a program's matrix products.

    All else is left out: beside them it is little. What the backward pass computes
    again counts, as it is in the program; so does every block of a kernel's grid,
    though an attention kernel passes over those that its mask excludes.

    Args:
      jaxpr: Of the program, over all devices.
      while_trips: How often the body of a loop without a fixed length runs.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _dot_general(equation)
            continue
        inner = [count(sub, while_trips=while_trips) for sub in _jaxprs(params)]
        times = 1
        if name == "scan":
            times = params["length"]
        elif name == "while":
            times = while_trips
        elif name == "shard_map":
            sizes = params["mesh"].shape
            times = math.prod(sizes[axis] for axis in params["newly_manual_axes"])
        elif name == "pallas_call":
            times = math.prod(params["grid_mapping"].grid)
        total += times * (max(inner, default=0) if name == "cond" else sum(inner))
    return total


def _dot_general(equation: core.JaxprEqn) -> int:
    """Returns two operations for each product."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    inner = math.prod(left[axis] for axis in contracted)
    return 2 * inner * math.prod(equation.outvars[0].aval.shape)


def _jaxprs(params: dict) -> list[core.Jaxpr]:
    """Returns the programs among an operation's parameters."""
    found = []
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found
