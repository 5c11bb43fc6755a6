"""Makes every test strict: typed shapes, no silent promotion, eight devices."""

import os
import pathlib

import jax
from jaxtyping import install_import_hook
import pytest

# With a GPU: JAX_PLATFORMS=cuda python -m pytest -n 0 -m gpu
jax.config.update("jax_platforms", os.environ.get("JAX_PLATFORMS") or "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Also for the processes that tests start; most programs are compiled several times.
_PROGRAMS = pathlib.Path(__file__).resolve().parents[1] / ".pytest_cache" / "programs"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_PROGRAMS))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
# Compiling is most of the time.
_QUICK = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true"
)
# Before any import of the package: checks each shape annotation at run time.
install_import_hook("datachef_jax", "beartype.beartype")


def pytest_configure(config):
    """Compiles without optimisation; not what is compared with other programs."""
    if config.option.markexpr not in ("parity", "gpu"):
        os.environ["XLA_FLAGS"] = f"{_QUICK} {os.environ.get('XLA_FLAGS', '')}"


def pytest_collection_modifyitems(items):
    """Puts the slow tests that take the most minutes first: none is left to the end."""

    def minutes(item):
        marker = item.get_closest_marker("slow")
        return marker.kwargs.get("minutes", 0) if marker else 0

    items.sort(key=minutes, reverse=True)  # the others stay in order


@pytest.fixture
def mesh():
    """Returns a mesh of the eight virtual devices: 4 x data, 2 x model."""
    from datachef_jax.parallel import sharding

    return sharding.make_mesh(data=4, model=2)
