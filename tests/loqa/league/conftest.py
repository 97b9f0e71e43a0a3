"""Files of agents for the league's tests."""

import jax
import numpy as np
import pytest

from common import checkpoints
from loqa import storage
from loqa.coin import agents as coin
from loqa.league import mfos

HP = {"seed": 1, "agent_0": "loqa", "just_self_play": True, "agent_replay_buffer": {"mode": "enabled"}}


def _params(side=3, hidden=3, seed=0):
    sizes = coin.Architecture(4 * side * side, hidden, 1, hidden, 1)
    return coin.init(sizes, jax.random.PRNGKey(seed))


@pytest.fixture
def write_loqa():
    """`write_loqa(path, side=3, seed=0, **hp)`: a small LOQA agent file."""

    def write(path, side=3, seed=0, **hp):
        params = {"agent0": {"params": _params(side, seed=seed)}}
        storage.save_agents(path, params, 7, {**HP, "game": {"height": side, "width": side}, **hp})
        return path

    return write


@pytest.fixture
def write_pola():
    """`write_pola(path)`: a file as our POLA program's `--save_dir` makes them; returns the policies [2, ...]."""

    def write(path, hidden=5):
        block = storage.to_arrays(_params(hidden=hidden)["actor_head"][coin.BLOCK])
        rng = np.random.default_rng(0)
        arrays = {
            f"agents/networks/policy/{name}": rng.normal(size=(2, *value.shape)).astype(np.float32)
            for name, value in block.items()
        }
        arrays |= {
            "agents/networks/value/linear_end/bias": np.zeros((2, 1), np.float32),
            "epoch": np.int32(3),
        }
        checkpoints.save(path, arrays, {"epoch": 3, "architecture": {"env": "coin"}})
        return arrays

    return write


@pytest.fixture
def mfos_arrays():
    """Small M-FOS parameters by name."""
    rng = np.random.default_rng(0)
    like = {"conv1.weight": np.zeros((3, 7, 3, 3)), "gru.weight_hh": np.zeros((12, 4))}
    shapes = mfos.expected_shapes(like, 3, 3)
    return {name: rng.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}
