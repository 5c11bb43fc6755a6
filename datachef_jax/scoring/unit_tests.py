"""Whether a program passes its unit tests, run in the sandbox.

In the process of a program everything can be faked: it can exit before the tests end,
change what `==` means, write down that it has passed. So each test runs twice. First
beside the program, which answers the calls of the tests, and the answers are recorded
as literals. Then in a process that has no line of the program, where the recorded
answers are given to the same calls: what the tests say there counts.

Not covered: a program that looks for its tests in its own process, and answers what it
reads there. Undecided: tests that need more of a program than functions of literals
(its classes, or that it changes its arguments).
"""

from collections.abc import Sequence
import json
from typing import Any

from sandbox import job
from sandbox import pool

Pair = tuple[str, str]
"""(program, tests), Python source. The tests fail by raising. They may use all names of
the program but those that Python has itself: `abs` is what it always is."""

# What ends like this may be our own limits on records and scripts.
_UNDECIDED = ("sandbox_error", "syntax_error", "invalid_output", "disk")

# Both scripts end with the tests; `_PROGRAM` and `_TESTS` are written before them.
_RECORD = """
import ast, builtins, inspect, json, random, sys, types

calls, given, odd, known = [], {}, [], set(dir(builtins))

def literal(value):
    text = repr(value)
    try:
        ast.literal_eval(text)
    except Exception:
        odd.append(text[:100])
    return text

def recorded(name, function):
    def call(*args, **kwargs):
        asked = literal((args, kwargs))
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            calls.append([name, asked, "raised", type(error).__name__])
            raise
        calls.append([name, asked, "returned", literal(result)])
        if repr((args, kwargs)) != asked:
            odd.append("changes its arguments")
        return result
    return call

program = sys.modules["program"] = types.ModuleType("program")
exec(compile(_PROGRAM, "program.py", "exec"), program.__dict__)
scope = {"__name__": "tests"}
for node in ast.walk(ast.parse(_TESTS)):
    if isinstance(node, ast.Name) and node.id in vars(program).keys() - known:
        name, value = node.id, vars(program)[node.id]
        if inspect.isroutine(value):
            scope[name], given[name] = recorded(name, value), ["function", ""]
        elif inspect.ismodule(value):
            scope[name], given[name] = value, ["module", value.__name__]
        else:
            scope[name], given[name] = value, ["value", literal(value)]
random.seed(0)
exec(compile(_TESTS, "tests.py", "exec"), scope)
record = json.dumps({"calls": calls, "given": given, "odd": odd[:1]})
turns = [("user", record), ("assistant", ".")]
row = {"dialogs": [{"role": role, "content": text} for role, text in turns]}
with open("data/processed/record.jsonl", "w") as file:
    file.write(json.dumps(row))
"""

_REPLAY = """
import ast, builtins, importlib, json, random, sys

with open("data/processed/record.jsonl") as file:
    record = json.loads(json.loads(file.readline())["dialogs"][0]["content"])
calls = iter(record["calls"])

def replayed(name):
    def call(*args, **kwargs):
        # Not StopIteration, at which a test's own loop would end well.
        was, asked, how, text = next(calls, ("",) * 4)
        assert (was, asked) == (name, repr((args, kwargs))), "not what was recorded"
        if how == "returned":
            return ast.literal_eval(text)
        error = getattr(builtins, text, Exception)
        raise error if issubclass(error, Exception) else Exception
    return call

scope = {"__name__": "tests"}
for name, (kind, text) in record["given"].items():
    if name.startswith("__") or hasattr(builtins, name):
        raise NameError(name)
    if kind == "function":
        scope[name] = replayed(name)
    elif kind == "value":
        scope[name] = ast.literal_eval(text)
    elif text.split(".")[0] in sys.stdlib_module_names:
        scope[name] = importlib.import_module(text)
random.seed(0)
exec(compile(_TESTS, "tests.py", "exec"), scope)
"""


def passed(pairs: Sequence[Pair], *, sandbox: pool.Sandbox) -> list[bool | None]:
    """Says of each program whether all its tests pass.

    Args:
      pairs: Programs and their tests.
      sandbox: A started one. Its limits hold for each program.

    Returns:
      One for each, in order; False also where a program takes too long or too much
      memory. None where that cannot be told: see above, or the sandbox is at fault.
    """
    return [_verdict(result) for result in sandbox.run([_job(*pair) for pair in pairs])]


def _job(program: str, tests: str) -> job.Job:
    # Not repr: half a character is no text that could be sent.
    known = f"_TESTS = {ascii(tests)}\n"
    return job.Job(
        processing=f"_PROGRAM = {ascii(program)}\n{known}{_RECORD}",
        verification=known + _REPLAY,
        sources=(),
        row_cap=0,
        seed=0,
    )


def _verdict(result: job.Result) -> bool | None:
    if result.kind in _UNDECIDED or result.verification == "sandbox_error":
        return None
    if result.kind != "ok":
        return False
    if result.verification == "ok":
        return True
    return None if _odd(result.output.rows) else False


def _odd(rows: Sequence[dict[str, Any]]) -> bool:
    """Says whether a record has what cannot be replayed. It may be forged."""
    try:
        return bool(json.loads(rows[0]["dialogs"][0]["content"])["odd"])
    except (LookupError, TypeError, ValueError, RecursionError):
        return False
