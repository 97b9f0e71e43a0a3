"""Iterated matrix games: the recorded table, episodes under scan, bad names."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from iqflow.env.matrix_games import NAMES, MatrixGame

KEY = jax.random.PRNGKey(0)


@pytest.mark.golden("matrix_games*.json")
def test_recorded_games(case):
    table = json.loads(case.read_text("utf-8"))
    assert table
    for name, expected in table.items():
        flags = expected["done_flags_over_5_steps"]
        env = MatrixGame(name, len(flags))
        start, seen = env.reset(KEY)
        np.testing.assert_array_equal(seen, [expected["reset_obs"]] * 2)
        for joint, outcome in expected["steps"].items():
            actions = jnp.array([int(letter) for letter in joint])
            _, seen, rewards, done, _ = env.step(KEY, start, actions)
            np.testing.assert_array_equal(seen, [outcome["obs_agent0"], outcome["obs_agent1"]])
            np.testing.assert_array_equal(rewards, outcome["reward"])
            assert bool(done) == outcome["done"]
        state, dones = start, []
        for _ in flags:
            state, _, _, done, _ = env.step(KEY, state, jnp.array([0, 1]))
            dones.append(bool(done))
        assert dones == flags


@pytest.mark.parametrize("name", NAMES)
def test_payoffs_are_symmetric(name):
    payoffs = MatrixGame(name).payoffs
    np.testing.assert_array_equal(payoffs, payoffs.transpose(1, 0, 2)[..., ::-1])


def test_the_best_totals_are_those_of_mutual_cooperation():
    totals = {name: MatrixGame(name).payoffs.sum(-1) for name in NAMES}
    assert {name: total[0, 0] for name, total in totals.items()} == {"ipd": 6, "chicken": 6, "stag_hunt": 8}
    assert all(total.max() == total[0, 0] for total in totals.values())


def test_a_batch_of_whole_episodes_under_scan():
    env, games = MatrixGame("chicken", 3), 4
    actions = jax.random.randint(KEY, (3, games, 2), 0, 2)

    @jax.jit
    def play():
        start, _ = jax.vmap(env.reset)(jax.random.split(KEY, games))

        def one(state, chosen):
            state, seen, rewards, done, _ = jax.vmap(env.step)(jax.random.split(KEY, games), state, chosen)
            return state, (seen, rewards, done)

        return jax.lax.scan(one, start, actions)

    final, (seen, rewards, done) = play()
    assert seen.shape == (3, games, 2, 5) and seen.dtype == jnp.float32 and rewards.dtype == jnp.float32
    np.testing.assert_array_equal(seen[..., 0, :].argmax(-1), 2 * actions[..., 0] + actions[..., 1])
    np.testing.assert_array_equal(done, [[False] * games, [False] * games, [True] * games])
    np.testing.assert_array_equal(final.time, [3] * games)
    by_hand = np.array([[[3, 3], [1, 4]], [[4, 1], [0, 0]]])
    np.testing.assert_array_equal(rewards, by_hand[actions[..., 0], actions[..., 1]])


@pytest.mark.parametrize(
    ("settings", "wrong"), [({"name": "er"}, "'er'"), ({"max_steps": 0}, "max_steps is 0")]
)
def test_bad_settings(settings, wrong):
    with pytest.raises(UserError, match=wrong):
        MatrixGame(**settings)
