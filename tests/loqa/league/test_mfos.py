"""The M-FOS network against a plain NumPy evaluation of its description (spec 5.10)."""

import jax.numpy as jnp
import numpy as np

from loqa.coin.game import CoinGame, GameState
from loqa.league.agents import View
from loqa.league.mfos import MfosPolicy


def _by_hand(params, observation, rewards, memory):
    def conv(name, planes):
        weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
        out = np.zeros((weight.shape[0], 3, 3))
        for o, y, x in np.ndindex(out.shape):
            total = bias[o]
            for c, i, j in np.ndindex(*weight.shape[1:]):
                total += weight[o, c, i, j] * planes[c, (y + i - 1) % 3, (x + j - 1) % 3]
            out[o, y, x] = max(total, 0)
        return out

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    extra = [np.full((3, 3), number) for number in (*rewards, 0.0)]
    planes = conv("conv2", conv("conv1", np.concatenate([observation.reshape(4, 3, 3), extra])))
    hidden = np.maximum(params["linear.weight"] @ planes.ravel() + params["linear.bias"], 0)
    given = (params["gru.weight_ih"] @ hidden + params["gru.bias_ih"]).reshape(3, -1)
    recalled = (params["gru.weight_hh"] @ memory + params["gru.bias_hh"]).reshape(3, -1)
    reset, update = sigmoid(given[0] + recalled[0]), sigmoid(given[1] + recalled[1])
    memory = (1 - update) * np.tanh(given[2] + reset * recalled[2]) + update * memory
    outputs = params["policy.weight"] @ np.maximum(memory, 0) + params["policy.bias"]
    return memory, outputs


def test_network(mfos_arrays):
    rng = np.random.default_rng(5)
    policy = MfosPolicy()
    params = {name: jnp.asarray(value) for name, value in mfos_arrays.items()}
    memory, expected_memory = policy.start(params, 2), np.zeros((2, 4))
    for _ in range(3):
        observation, rewards = rng.integers(0, 2, (2, 36)).astype("f"), rng.normal(size=(2, 2)).astype("f")
        memory, logits = policy.logits(params, memory, jnp.asarray(observation), jnp.asarray(rewards))
        for game in range(2):
            expected_memory[game], outputs = _by_hand(
                mfos_arrays, observation[game], rewards[game], expected_memory[game]
            )
            # its actions are right, left, down, up: output 1 is our 0 (left), and so on
            np.testing.assert_allclose(logits[game], outputs[[1, 0, 3, 2]], atol=1e-5)
    np.testing.assert_allclose(memory, expected_memory, atol=1e-5)


def test_seats_see_themselves(mfos_arrays):
    """The same position seen from both seats gives the same move."""
    game, policy = CoinGame(3, 3), MfosPolicy()
    params = {name: jnp.asarray(value) for name, value in mfos_arrays.items()}

    def logits(players, owner, rewards, seat):
        state = GameState(jnp.array([players]), jnp.array([4]), jnp.array([owner]), jnp.full((1, 2), -1.0))
        view = View(state, game.flat_observation(state)[:, seat], jnp.array([rewards]))
        return policy.logits(params, policy.start(params, 1), view.observation, view.rewards)[1]

    np.testing.assert_array_equal(logits([2, 7], 0, [1.0, -2.0], 0), logits([7, 2], 1, [1.0, -2.0], 1))
