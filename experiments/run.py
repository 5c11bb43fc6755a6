"""Runs one experiment and leaves its results in a folder.

    python experiments/run.py --config=configs/tiny.py

Any number of a config is set by its path, `--config.rl.group_size=4`; a config that
takes an argument has it after a colon, `--config=configs/some.py:argument`.
Results go to --workdir, by default runs/<path under configs/ without .py>[-<argument>].
The same command again goes on where a killed run ended; a finished run is only
reported anew; SIGTERM saves and ends with exit code 0. Exit code 2: something in the
config or on the command line is wrong, the message says what, nothing was written.

A run of several processes is the same command on each host, with a --workdir that all
see and --coordinator=auto (TPU pods, Slurm, Kubernetes), or
--coordinator=host:port --processes=N --process=I with the address of process 0.
"""

# Kept short on purpose. What an experiment consists of is in build.py, what happens
# in a step is in datachef_jax/training/step.py, and every number is in the config.

import ast
import difflib
import json
import os
import pathlib
import shutil
import sys
import time

# Its advice to install PyTorch, which nothing here uses; read at its first import.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
_ROOT = pathlib.Path(__file__).resolve().parents[1]
# Launched by its path, a script gets its own folder on sys.path, not the root.
sys.path.insert(0, str(_ROOT))

from absl import app  # noqa: E402
from absl import flags  # noqa: E402
from absl import logging  # noqa: E402
from flax import nnx  # noqa: E402
import jax  # noqa: E402
import ml_collections as mlc  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from datachef_jax.models.qwen3 import kernels  # noqa: E402
from datachef_jax.parallel import hosts  # noqa: E402
from datachef_jax.parallel import sharding  # noqa: E402
from datachef_jax.training import preemption  # noqa: E402
from experiments import allocator  # noqa: E402
from experiments import build  # noqa: E402
from experiments import checks  # noqa: E402
from experiments import compilation_cache  # noqa: E402
from experiments import environment  # noqa: E402
from experiments import report  # noqa: E402
from experiments import results  # noqa: E402
from experiments import workdirs  # noqa: E402
from sandbox.isolation import CannotStart  # noqa: E402

# lock_config: naming a field that the file does not have is an error.
_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "For a run of several processes, started on each host by the same command with a "
    "--workdir that all see: 'auto' on TPU pods, Slurm and Kubernetes; else host:port "
    "of process 0, with --processes and --process.",
)
_PROCESSES = flags.DEFINE_integer("processes", 1, "How many processes there are.")
_PROCESS = flags.DEFINE_integer("process", 0, "Which of them this one is, from 0.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where checkpoints and results go; see above for the default."
)


def main(argv: list[str]) -> None:
    """Runs the experiment; a UserError becomes a message and exit code 2."""
    del argv
    logging.set_verbosity(logging.WARNING)  # not what JAX says of each platform
    filename = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = pathlib.Path(_WORKDIR.value or _default_workdir(filename)).absolute()
    try:
        _join()
        _run(_CONFIG.value, workdir)
    except checks.UserError as error:
        _refuse(error)


def _join() -> None:
    """Joins the other processes of the run, if it has any."""
    if _COORDINATOR.value is None:
        for flag in (_PROCESSES, _PROCESS):
            checks.require(
                not flag.present, f"--{flag.name}", flag.value, "wants a --coordinator"
            )
        return
    checks.require(
        0 <= _PROCESS.value < _PROCESSES.value or _COORDINATOR.value == "auto",
        "--process",
        _PROCESS.value,
        f"must be below --processes={_PROCESSES.value}",
    )
    with checks.blame("--coordinator", _COORDINATOR.value):
        hosts.start(
            coordinator=_COORDINATOR.value,
            processes=_PROCESSES.value,
            process=_PROCESS.value,
        )


def _run(config, workdir: pathlib.Path) -> None:
    """Runs, resumes or only reports the experiment, as the folder's state demands."""
    plain = json.loads(config.to_json())
    checks.ranges(plain)
    resuming = checks.workdir(workdir, plain)
    workdir = workdirs.own(workdir)
    if (workdir / "summary.json").exists():
        print(f"{workdir} is finished; drawing its report anew.", flush=True)
        report.draw(workdir)
        return
    with checks.blame("config.mesh", config.mesh.to_dict()):
        mesh = sharding.make_mesh(**config.mesh)
    print(f"{'Resuming' if resuming else 'Working'} in {workdir}", flush=True)
    if not resuming:
        results.write_json(workdir / "config.json", plain)
    start = time.monotonic()
    programs = compilation_cache.keep_programs()
    # The one place in the repository that sets a mesh.
    with jax.set_mesh(mesh), nnx.logical_axis_rules(sharding.AXIS_RULES):
        try:
            experiment = build.experiment(config, workdir, root=_ROOT)
        except checks.UserError:
            if not resuming:  # all there is was written by this process
                shutil.rmtree(workdir)
            raise
        record = environment.Environment(workdir / "environment.json", root=_ROOT)
        record.add_seconds("building", time.monotonic() - start)
        record.note("compiled programs", programs)
        if jax.default_backend() == "cpu":
            record.note("allocator", allocator.keep_freed_memory())
        if "policy" in config:
            dtype = config.policy.dtype
            record.note("attention", kernels.chosen(kernels.platform(), dtype))
        try:
            with preemption.stopping():
                experiment.run(record)
        except preemption.Preempted:
            print(f"Told to stop: saved in {workdir}; the same command goes on.")
            return
        except CannotStart as error:
            raise checks.UserError(f"config.sandbox: {error}") from error
        finally:
            record.note("attention, lost", kernels.said())
    report.draw(workdir)


def _default_workdir(filename: str) -> pathlib.Path:
    """Returns the folder that belongs to a config file and its argument."""
    path, _, argument = filename.partition(":")
    path = pathlib.Path(path).resolve()
    configs = _ROOT / "configs"
    inside = path.is_relative_to(configs)
    name = path.relative_to(configs) if inside else pathlib.Path(path.name)
    name = name.with_suffix("")
    suffix = "-" + argument.replace("/", "_") if argument else ""
    return _ROOT / "runs" / name.with_name(name.name + suffix)


def _parse(argv: list[str]) -> list[str]:
    """Parses the command line for absl, with our messages and exit codes."""
    if {"-h", "-help", "--help", "--helpfull"} & set(argv):
        print(_help())
        sys.exit(0)
    try:
        return _parse_flags(argv)
    except checks.UserError as error:
        _refuse(error)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags, once each field that they set is known to exist."""
    argv = [_find_config(argument) for argument in _joined(argv)]
    named = [a for a in argv if a.lstrip("-").startswith("config=")]
    if not named:
        raise checks.UserError("--config is missing; --help lists the configs")
    try:
        config = _load(named[-1])
        for argument in argv:
            if argument.lstrip("-").startswith("config."):
                _check_field(config, argument.lstrip("-"))
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        said = [line for line in str(error).splitlines() if line.strip()]
        # What lies between may be the traceback of the config file.
        raise checks.UserError(" ".join(dict.fromkeys([said[0], said[-1]]))) from error
    except (LookupError, OSError, SyntaxError, TypeError, ValueError) as error:
        # Raised by the config file itself, for example about its argument.
        name = type(error).__name__
        raise checks.UserError(f"{named[-1]}: {name}: {error}") from error
    if len(rest) > 1:
        raise checks.UserError(f"unknown arguments: {' '.join(rest[1:])}")
    return rest


def _load(argument: str) -> mlc.ConfigDict:
    """Returns the config of a `--config=` argument, as its file has it."""
    apart, alone = flags.FlagValues(), ["run.py", argument]
    loaded = config_flags.DEFINE_config_file(
        "config", flag_values=apart, sys_argv=alone
    )
    apart(alone)
    return loaded.value


def _joined(argv: list[str]) -> list[str]:
    """Writes `--config file` as `--config=file`."""
    for at, argument in enumerate(argv[:-1]):
        if argument in ("-config", "--config"):
            return [*argv[:at], f"--config={argv[at + 1]}", *argv[at + 2 :]]
    return argv


def _find_config(argument: str) -> str:
    """Finds the config file of a `--config=` argument here or in the repository."""
    name, equals, value = argument.partition("=")
    if name not in ("-config", "--config") or not equals:
        return argument
    path, colon, parameter = value.partition(":")
    for folder in (pathlib.Path.cwd(), _ROOT):
        if (folder / path).is_file():
            return f"--config={folder / path}{colon}{parameter}"
    raise checks.UserError(f"--config={path}: there is no such file")


def _check_field(config, assignment: str) -> None:
    """Raises a UserError unless a `config.some.field=value` names a field."""
    path, equals, value = assignment.partition("=")
    if not equals:
        raise checks.UserError(f"--{path} needs its value after a '='")
    walked, node = "config", config
    for name in path.split(".")[1:]:
        names = list(node) if hasattr(node, "keys") else []
        if name not in names:
            close = difflib.get_close_matches(name, names)
            hint = f"; did you mean {walked}.{close[0]}?" if close else ""
            raise checks.UserError(f"{path}={value}: {walked} has no {name!r}{hint}")
        walked, node = f"{walked}.{name}", node[name]


def _help() -> str:
    """Returns the text above with a list of the shipped configs."""
    lines = [__doc__, "Configs:"]
    for path in sorted((_ROOT / "configs").rglob("*.py")):
        head = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        lines.append(f"  {os.path.relpath(path, _ROOT)}\n      {head}")
    return "\n".join(lines)


def _refuse(error: checks.UserError) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
