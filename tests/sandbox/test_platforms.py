"""The sandbox on other platforms than this one, as far as they can be had here."""

import os
import shutil
import subprocess

import pytest

from sandbox import layout
from sandbox.layout import Layout
from tests.sandbox import platforms
from tests.sandbox import small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root takes capabilities away"),
]
# gVisor has no Landlock, so that what all users may read or write, scripts may; nor
# does it close /proc to others.
_GVISOR_LACKS = {
    "temporary files elsewhere",
    "environments of others",
    "accounts",
    "the root",
}


@pytest.fixture
def folder(tmp_path_factory):
    """Returns a folder that all users may enter."""
    made = tmp_path_factory.mktemp("open")
    for each in (made, *made.parents):
        if not each.stat().st_mode & 0o001:
            each.chmod(0o755)
    trial = made / "trial"
    trial.mkdir(mode=0o755)
    command = platforms.opened([*platforms.docker(0), "true"], trial)
    tried = subprocess.run(command, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no platform can be emulated here: {tried.stderr[-300:]}")
    return made


@pytest.mark.parametrize("user", [0, 65534], ids=["root", "nobody"])
def test_in_docker_with_its_default_profile(folder, user):
    found = platforms.attacked(
        platforms.docker(user), refuses="docker", outer="", folder=folder
    )
    expected = Layout(namespaces=False, own_users=user == 0)
    assert found["isolation"]["layout"] == str(expected)
    assert set(found["isolation"]["lost"]) == set(expected.lost)
    assert "bubblewrap, one user id" in found["isolation"]["not to be had"]
    assert found["failures"] == {}


def _gvisor(folder, **environment):
    tried = subprocess.run([*platforms.gvisor(), "true"], capture_output=True)
    if tried.returncode:
        pytest.skip(f"gVisor cannot start here: {tried.stderr[-300:]}")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name not in ("PATH", "LD_LIBRARY_PATH"):
                patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        return platforms.attacked(
            platforms.gvisor(), refuses="", outer="gvisor", folder=folder
        )


@pytest.mark.skipif(not shutil.which("runsc"), reason="runsc is not installed")
def test_in_gvisor_what_is_lost_is_named(folder):
    found = _gvisor(folder)
    expected = Layout(namespaces=False, own_users=True, outer="gvisor")
    assert found["isolation"]["layout"] == str(expected)
    assert set(found["isolation"]["lost"]) == {"landlock", *expected.lost}
    # Slow as it is here, some run out of time instead: those achieve nothing.
    achieved = {
        name
        for name, ending in found["failures"].items()
        if not ending.startswith(("timeout", "disk"))
    }
    assert achieved and achieved <= _GVISOR_LACKS


@pytest.mark.skipif(not shutil.which("runsc"), reason="runsc is not installed")
def test_in_gvisor_keys_in_the_environment_are_refused(folder):
    with pytest.raises(RuntimeError, match="reading keys in another's environment"):
        _gvisor(folder, TRACKER_KEY="x")


@pytest.mark.skipif(not shutil.which("bwrap"), reason="bwrap is not installed")
def test_user_ids_keep_scripts_from_one_another_where_landlock_does_not():
    """Without either, a script reads what another has written."""
    script = "import os\nprint(*(os.access(f'/slots/{n}', os.R_OK) for n in range(2)))"
    seen = {}
    for own_users in (True, False):
        one = Layout(namespaces=True, own_users=own_users, without=("landlock",))
        if reason := layout.obstacle(one, ()):
            pytest.skip(reason)
        with small.only(one), small.started() as sandbox:
            (result,) = sandbox.run(small.jobs([script]))
            seen[own_users] = sorted(result.log.split()[:2])
    assert seen == {True: ["False", "True"], False: ["True", "True"]}
