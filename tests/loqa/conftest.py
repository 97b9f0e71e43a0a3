"""What LOQA's tests share: recorded cases, and no silent promotion of ranks."""

import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("NPROC", "1")  # see `loqa.program.choose_device`
# Programs this small are compiled longer than they run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if version("jaxlib").startswith("0.10."):  # XLA ends a process whose flags it doesn't know
    quick = (
        "use_fusion_emitters=false",
        "parallel_codegen_split_count=1",
        "enable_concurrency_optimized_scheduler=false",
    )
    os.environ.setdefault("XLA_FLAGS", " ".join(f"--xla_cpu_{flag}" for flag in quick))

import jax
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def original_streams():
    """The random streams of the original's JAX (spec 3.3)."""
    partitionable = jax.config.jax_threefry_partitionable
    jax.config.update("jax_threefry_partitionable", False)
    yield
    jax.config.update("jax_threefry_partitionable", partitionable)


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


class Recorded:
    """One NPZ file of recorded values; keys with a colon hold trees: `param:params/actor_head/...`."""

    def __init__(self, path):
        self.entries = dict(np.load(path))

    def __getitem__(self, name):
        return self.entries[name]

    def __contains__(self, name):
        return name in self.entries

    def tree(self, prefix):
        """The entries below `prefix:` as nested dictionaries."""
        tree = {}
        for name, value in self.entries.items():
            if name.startswith(f"{prefix}:"):
                *folders, leaf = name[len(prefix) + 1 :].split("/")
                place = tree
                for folder in folders:
                    place = place.setdefault(folder, {})
                place[leaf] = value
        return tree


@pytest.fixture
def recorded(case):
    """The golden case of a test."""
    return Recorded(case)
