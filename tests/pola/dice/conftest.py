"""What the tests of the sampled games share: recorded parameter trees, and no silent promotion of ranks."""

import functools

import jax
import numpy as np
import pytest

from pola.dice import training
from pola.dice.config import parse


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(compiled_once):
    """Programs are compiled once."""


def distance(found, wanted):
    """Largest difference between two trees over the largest entry of the wanted one."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True))
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    gap = max(float(np.max(np.abs(np.asarray(a, np.float64) - b))) for a, b in pairs)
    return gap / max(float(np.max(np.abs(b))) for _, b in pairs)


@pytest.fixture(name="distance")
def distance_fixture():
    """`distance(found, wanted)`: relative to the largest entry, over whole trees."""
    return distance


SMALL = (
    "--inner_steps 2 --outer_steps 2 --batch_size 8 --rollout_len 4 --hidden_size 5 --layers_before_gru 1 "
    "--lr_in 0.05 --lr_out 0.003 --lr_v 0.0005 --inner_beta 10 --outer_beta 100 --n_update 3"
)


@pytest.fixture(scope="session")
def fresh():
    """`fresh(config, seed)`: the state of a run before its first epoch."""

    @functools.cache
    def make(config):
        env = training.make_game(config)
        return jax.jit(lambda seed: training.initial_state(config, env, seed))

    return lambda config, seed: make(config)(np.uint32(seed))


@pytest.fixture
def small():
    """A tiny configuration from extra flags, axes settled as on a CPU."""

    def make(extra="--env ipd", base=SMALL):
        return training.resolve_axes(parse(f"{base} {extra}".split()), "cpu")

    return make
