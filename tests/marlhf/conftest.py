"""What the tests share: programs compiled once, and no silent promotion of ranks."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(compiled_once):
    """Programs are compiled once."""


@pytest.fixture(scope="module", autouse=True)
def compiled_and_forgotten():
    """A module's compiled programs leave the memory with it: gigabytes, if all of them stayed."""
    yield
    jax.clear_caches()
