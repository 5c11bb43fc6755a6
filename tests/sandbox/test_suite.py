"""The suite of attacks, against every layout that is to be had, with a look outside.

The best layout is in the default tests; the others, and what each layer is for, are
among the slow ones.
"""

import dataclasses
import pathlib

import pytest

from tests.sandbox import outside
from tests.sandbox import small

# Landlock as Linux 5.13 to 5.18 have it, on today's TPU machines among others.
_OLD = dataclasses.replace(small.PLAIN, without=("landlock 2",))


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Runs all attacks in the best layout, many at once: most of them wait."""
    folder = tmp_path_factory.mktemp("outside")
    with outside.started(folder, workers=8) as (sandbox, around):
        failures = around.withstand(sandbox, outside.ATTACKS)
        around.check()
    return failures


def test_there_are_a_hundred_and_more():
    names = {attack.name for attack in outside.ATTACKS}
    assert len(names) == len(outside.ATTACKS) >= 100


@pytest.mark.parametrize("attack", outside.ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_ends_as_it_may_and_achieves_nothing(ended, attack):
    assert attack.name not in ended, ended[attack.name]


@pytest.mark.slow
@pytest.mark.parametrize("layout", [*small.available(), _OLD], ids=str)
def test_one_attack_after_the_other_in_every_layout(tmp_path, layout):
    """What is outside is looked at after each."""
    made = outside.started(tmp_path, layout, workers=1, limits=outside.ALONE)
    with made as (sandbox, around):
        (supervisor,) = sandbox.supervisors
        status = pathlib.Path(f"/proc/{supervisor}/status")
        before = _resident(status)
        for attack in outside.ATTACKS:
            assert not around.withstand(sandbox, [attack])
            around.check()
            assert _resident(status) < before + 150 * 2**20, attack.name


def _resident(status: pathlib.Path) -> int:
    lines = status.read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS:")]
    return 1024 * int(line.split()[1])


def test_no_process_is_left(tmp_path):
    with outside.started(tmp_path, workers=2) as (sandbox, around):
        (supervisor,) = sandbox.supervisors
        before = small.descendants(supervisor)
        chosen = [
            attack
            for attack in outside.ATTACKS
            if "timeout" in attack.kinds or "fork" in attack.name
        ]
        around.withstand(sandbox, chosen[:6])
        assert small.descendants(supervisor) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "names"),
    [
        ("seccomp", {"fork", "TCP", "memory file", "mode of a source"}),
        ("landlock", {"a file", "accounts", "a file above"}),
        ("limits", {"shared memory", "one large file"}),
    ],
)
def test_without_a_layer_some_attack_achieves_something(tmp_path, layer, names):
    """Where no namespaces stand in for it; `test_platforms` leaves out the user id."""
    chosen = [attack for attack in outside.ATTACKS if attack.name in names]
    layout = dataclasses.replace(small.PLAIN, without=(layer,))
    with outside.started(tmp_path, layout) as (sandbox, around):
        failures = around.withstand(sandbox, chosen)
        changed = False
        try:
            around.check()
        except (AssertionError, pytest.fail.Exception):
            changed = True
    assert failures or changed, layer
