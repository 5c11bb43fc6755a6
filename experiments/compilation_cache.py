"""Compiled programs, kept between runs."""

import hashlib
import os
import pathlib

import jax

_MOST_BYTES = 4 * 2**30
_CPU = pathlib.Path("/proc/cpuinfo")


def keep_programs() -> str:
    """Lets JAX keep its compiled programs, unless the environment says where already.

    They stand in `$XDG_CACHE_HOME/datachef_jax`; JAX_COMPILATION_CACHE_DIR names
    another folder, JAX_ENABLE_COMPILATION_CACHE=false turns it off. Programs of a CPU
    are only for CPUs with the same instructions.

    Returns:
      Where, for the run's record.
    """
    folder = jax.config.jax_compilation_cache_dir
    if not folder:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        folder = str(pathlib.Path(home) / "datachef_jax" / _instructions())
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    return folder


def _instructions() -> str:
    """Returns a name for what this host's CPU can do."""
    if not _CPU.exists():
        return "programs"
    lines = _CPU.read_text().splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Feat"))), "")
    return "programs-" + hashlib.sha256(flags.encode()).hexdigest()[:8]
