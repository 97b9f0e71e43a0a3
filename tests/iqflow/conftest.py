"""What IQ-Flow's tests share: recorded cases, and no silent promotion of ranks."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("NPROC", "1")  # see `iqflow.trainer.program`

import jax
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(compiled_once):
    """Programs are compiled once."""


class Recorded:
    """One NPZ file of recorded values; trees are stored as `prefix/layer/kernel`."""

    def __init__(self, path):
        self.entries = dict(np.load(path))

    def __getitem__(self, name):
        return self.entries[name]

    def __contains__(self, name):
        return name in self.entries

    def tree(self, prefix):
        """The entries below `prefix/` as nested dictionaries."""
        tree = {}
        for name, value in self.entries.items():
            if name.startswith(f"{prefix}/"):
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
