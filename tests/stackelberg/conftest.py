"""What Stackelberg's tests share: small quick programs, compiled once; arrays of different ranks only where it is said."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("NPROC", "1")  # see `stackerlberg.batched.engine.choose_device`
# Programs this small are compiled longer than they run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import pytest


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """Programs that several tests (and the processes that they start) compile are compiled by the first one."""
    import jax

    settings = {
        "jax_numpy_rank_promotion": "raise",
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    yield
