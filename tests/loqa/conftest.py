"""What LOQA's tests share: recorded cases, and no silent promotion of ranks."""

import os

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def original_rounding():
    """The original's rounding as far as the compiler decides it: programs are optimised, but for the flags above."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1")


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(compiled_once):
    """Programs are compiled once."""


@pytest.fixture(scope="module", autouse=True)
def compiled_and_forgotten():
    """A module's compiled programs leave the memory with it: gigabytes, if all of them stayed."""
    yield
    jax.clear_caches()
