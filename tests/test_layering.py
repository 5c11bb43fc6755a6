"""Imports point one way: every module imports only from layers below its own."""

import ast
import pathlib
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LAYERS = (  # lowest first; packages within one layer do not know each other
    ("sandbox", "datachef_jax.types"),
    # Below models, whose weights are split as the one table says, and below tasks,
    # whose sources are written in the output contracts.
    ("datachef_jax.parallel", "datachef_jax.scoring"),
    (
        "datachef_jax.models",
        "datachef_jax.recipes",
        "datachef_jax.tasks",
        "datachef_jax.text",
    ),
    ("datachef_jax.finetune", "datachef_jax.rl", "datachef_jax.sampling"),
    ("datachef_jax.serving",),
    ("datachef_jax.benchmarks", "datachef_jax.verifier"),
    ("datachef_jax.training",),
    ("experiments",),
)
_TOPS = ("sandbox", "datachef_jax", "experiments")
_MODULES = sorted(
    path for top in _TOPS for path in (_ROOT / top).rglob("*.py") if path.stat().st_size
)
# What sandbox/ may import beside Python: wrappers of system calls, and what knows how
# distributions name what they need; and what the
# toolkit may, which runs inside, next to the recipe.
_WRAPPERS = {"landlockpy", "packaging", "pyseccomp"}
_TOOLKIT = {"sandbox", "datasets", "numpy", "pandas", "pyarrow", "tqdm"}


def _layer(module: str) -> tuple[int, str] | None:
    """Returns (height, package) of one of our modules, or None for others."""
    for height, packages in enumerate(_LAYERS):
        for package in packages:
            if module == package or module.startswith(package + "."):
                return height, package
    return None


def _name(path: pathlib.Path, root: pathlib.Path = _ROOT) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts)


def _imports(source: str) -> set[str]:
    """Returns the modules a file imports, also inside functions and conditions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            found.update(f"{dots}{node.module}.{alias.name}" for alias in node.names)
    return found


def _violations(name: str, source: str) -> list[str]:
    """Returns what is wrong with the imports of the module `name`."""
    here = _layer(name)
    if here is None:
        return [f"{name} is in no layer of this test"]
    found = []
    for imported in sorted(_imports(source)):
        there = _layer(imported)
        if imported.startswith("."):
            found.append(f"{name} imports {imported} by a relative path")
        elif there is None and imported.split(".")[0] in _TOPS:
            found.append(f"{name} imports {imported}, which is in no layer")
        elif there is not None and there[1] != here[1] and there[0] >= here[0]:
            found.append(f"{name} imports {imported}")
    return found


def _foreign(name: str, source: str) -> list[str]:
    """Returns what a file of sandbox/ imports beyond what it may."""
    allowed = _WRAPPERS | {"sandbox"}
    if name.startswith("sandbox.aidp."):
        allowed = _TOOLKIT
    tops = {imported.split(".")[0] for imported in _imports(source)}
    return sorted(tops - sys.stdlib_module_names - allowed)


@pytest.mark.parametrize("path", _MODULES, ids=_name)
def test_imports_only_from_below(path):
    assert not _violations(_name(path), path.read_text())


@pytest.mark.parametrize(
    "path", [p for p in _MODULES if _name(p).startswith("sandbox.")], ids=_name
)
def test_the_sandbox_needs_nothing_but_python_and_its_wrappers(path):
    assert not _foreign(_name(path), path.read_text())


@pytest.mark.parametrize("path", _MODULES, ids=_name)
def test_files_stay_readable_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{_name(path)} has {lines} lines"


@pytest.mark.parametrize(
    "name, source, message",
    [
        ("datachef_jax.rl.x", "from datachef_jax.training import step", "training"),
        ("datachef_jax.rl.x", "import datachef_jax.sampling.engine", "sampling"),
        ("datachef_jax.text.x", "def f():\n  from experiments import run", "experi"),
        ("datachef_jax.rl.x", "from . import losses", "relative"),
        ("datachef_jax.rl.x", "from datachef_jax.utils import a", "no layer"),
        ("datachef_jax.utils", "", "no layer"),
        ("sandbox.pool", "from datachef_jax.models import x", "models"),
    ],
)
def test_a_planted_violation_is_reported_by_name(name, source, message):
    violations = _violations(name, source)
    assert violations and name in violations[0] and message in violations[0]


def test_a_foreign_import_of_the_sandbox_is_reported():
    assert _foreign("sandbox.pool", "import jax\nimport os") == ["jax"]
    assert _foreign("sandbox.pool", "import pyseccomp\nfrom sandbox import y") == []
    assert _foreign("sandbox.pool", "import datasets") == ["datasets"]
    assert _foreign("sandbox.aidp.ops", "import datasets\nimport jax") == ["jax"]
