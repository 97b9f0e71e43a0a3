"""Scripted players: recorded distances and actions, and what they earn."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from loqa.coin import scripted
from loqa.coin.game import CoinGame, GameState
from loqa.coin.rollout import draw_noise, play
from loqa.coin.rollout import scripted as player

RULES = {"cooperate": scripted.always_cooperate, "defect": scripted.always_defect}


def alone(player_cell, coin, owner):
    """States in which the second player is the one that counts."""
    players = jnp.stack([player_cell, player_cell], axis=-1)
    return GameState(players, coin, owner, jnp.full(players.shape, -1.0))


@pytest.mark.golden("scripted_distances*.json")
def test_recorded_distances(case):
    for side, table in json.loads(case.read_text("utf-8"))["grids"].items():
        game = CoinGame(int(side), int(side))
        places = jnp.array(table["player_and_coin"])
        state = alone(game.cell(places[:, :2]), game.cell(places[:, 2:]), jnp.zeros(len(places), jnp.int32))
        np.testing.assert_array_equal(scripted.distances(game, state, 1), table["new_distance"])


@pytest.mark.golden("scripted_actions_3x3*.json")
def test_recorded_actions(case):
    """The support is equal and ties are about as frequent as in 200 draws of the original."""
    record = json.loads(case.read_text("utf-8"))
    states, game = jnp.array(record["states"]), CoinGame()
    state = alone(game.cell(states[:, :2]), game.cell(states[:, 2:4]), states[:, 4])
    ranks = jax.vmap(scripted.tie_ranks)(jax.random.split(jax.random.PRNGKey(0), 400))
    for name, recorded_counts in record["counts"].items():
        rule = next(rule for key, rule in RULES.items() if key in name)
        acts = jax.vmap(lambda one, rule=rule: rule(game, state, 1, jnp.broadcast_to(one, (len(states), 4))))(
            ranks
        )
        counts = np.stack([(np.asarray(acts) == action).sum(0) for action in range(4)], axis=-1)
        theirs = np.array(recorded_counts)
        np.testing.assert_array_equal(counts > 0, theirs > 0)
        shares = theirs / theirs.sum(-1, keepdims=True)
        assert np.abs(counts / len(ranks) - shares).max() < 0.2  # 4 standard errors of 200 draws


@pytest.mark.golden("trained_matches*.json")
def test_what_they_earn(case):
    """256 games of 50 steps, within 3 standard errors + 0.01 of the recorded ones."""
    matches = json.loads(case.read_text("utf-8"))["matches"]
    game, keys = CoinGame(), jax.random.split(jax.random.PRNGKey(2), 256)
    for names in (("AD", "AC"), ("AC", "AC"), ("AD", "AD")):
        rules = [RULES["defect" if name == "AD" else "cooperate"] for name in names]
        streams = [jax.random.fold_in(jax.random.PRNGKey(9), seat) for seat in (0, 1)]
        players = [
            player(game, rule, seat, scripted.episode_ranks(jax.random.split(stream, 256), "tie"))
            for seat, (rule, stream) in enumerate(zip(rules, streams, strict=True))
        ]
        earned = play(game, players, draw_noise(game, keys, 50)).rewards.mean((0, 1))
        match = matches[" vs ".join(names)]
        room = 3 * np.array(match["standard_error"]) + 0.01
        assert (np.abs(earned - np.array(match["mean_reward"])) < room).all(), names


def test_the_random_player_is_uniform():
    counts = np.bincount(scripted.random_actions(jax.random.PRNGKey(0), (8000,)), minlength=4)
    assert ((counts - 2000) ** 2 / 2000).sum() < 16.3  # 99.9 % point, 3 degrees of freedom
