"""What Stackelberg's tests share: small quick programs, compiled once; arrays of different ranks only where it is said."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("NPROC", "1")  # see `stackerlberg.batched.engine.choose_device`
# Programs this small are compiled longer than they run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import pytest


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(compiled_once):
    """Programs are compiled once."""
