"""Statistics of episodes against recorded ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from loqa.coin.game import CoinGame, GameState
from loqa.coin.statistics import Statistics, measure


def states_of(seen):
    """Game states from player 0's planes [T, B, 4, H, W]."""
    planes = seen.reshape(*seen.shape[:3], -1)
    players, coins = planes[:, :, :2].argmax(-1), planes[:, :, 2:]
    return GameState(
        jnp.asarray(players),
        jnp.asarray(coins.sum(2).argmax(-1)),
        jnp.asarray((coins[:, :, 1].sum(-1) > 0).astype(np.int32)),
        jnp.zeros(players.shape),
    )


@pytest.mark.golden("episode_stats_*.npz")
def test_recorded_statistics(recorded):
    seen = np.moveaxis(recorded["obs"], 0, 1)[:, :, 0]
    actions, rewards = (jnp.asarray(np.moveaxis(recorded[name], 0, 1)) for name in ("act", "rew"))
    game = CoinGame(*seen.shape[-2:])
    found = measure(game, states_of(seen), actions, rewards.astype(jnp.float32))
    for name in Statistics._fields:
        np.testing.assert_allclose(getattr(found, name), recorded[f"stat:{name}"], atol=1e-6, err_msg=name)


def test_nothing_happens_at_all():
    """No coin in reach and none taken: rates are 0, not NaN."""
    game = CoinGame(5, 5)
    players = jnp.zeros((3, 2, 2), jnp.int32)
    states = GameState(players, jnp.full((3, 2), 12), jnp.zeros((3, 2), jnp.int32), jnp.zeros((3, 2, 2)))
    found = measure(game, states, jnp.zeros((2, 2, 2), jnp.int32), jnp.zeros((2, 2, 2)))
    for name, value in found._asdict().items():
        np.testing.assert_allclose(value, 0.0, atol=1e-6, err_msg=name)
