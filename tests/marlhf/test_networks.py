"""The networks: recorded forward passes, shapes, resets, initial weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlhf.networks import (
    ActorCritic,
    FeedForwardActor,
    QNetwork,
    RecurrentActor,
    RewardFF,
    RewardRNN,
    TwinQNetwork,
)

GHOSTS = {"reward_ff": ("Dense_0", "Dense_2", "Dense_4")}


def parameters(arrays, case):
    """The recorded parameters of a case as a tree, without the layers that take no part."""
    tree = {}
    prefix = f"{case}/params64/params/"
    ghosts = next((names for kind, names in GHOSTS.items() if case.startswith(kind)), ())
    for name in arrays.files:
        path = name.removeprefix(prefix).split("/")
        if not name.startswith(prefix) or path[0] in ghosts:
            continue
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = jnp.asarray(arrays[name], jnp.float32) / 64
    return {"params": tree}


def read(path, case):
    arrays = np.load(path)
    if not any(name.startswith(f"{case}/") for name in arrays.files):
        pytest.skip(f"{path.name} has no case {case}")
    names = [name for name in arrays.files if name.startswith(f"{case}/") and "params64" not in name]
    return parameters(arrays, case), {name.removeprefix(f"{case}/"): arrays[name] for name in names}


@pytest.mark.golden("network_and_loss_cases*.npz")
def test_q_network(case):
    params, data = read(case, "q_network")
    width = params["params"]["Dense_0"]["bias"].shape[0]
    network = QNetwork(n_actions=data["q"].shape[-1], hidden=width)
    carry, q = network.apply(
        params, network.initial_carry(data["obs"].shape[1]), data["obs"], jnp.asarray(data["dones"])
    )
    np.testing.assert_allclose(q, data["q"], atol=1e-5)
    np.testing.assert_allclose(carry, data["h_final"], atol=1e-5)


@pytest.mark.golden("network_and_loss_cases*.npz")
def test_recurrent_actor(case):
    params, data = read(case, "reference_policy")
    width = params["params"]["Dense_0"]["bias"].shape[0]
    network = RecurrentActor(n_actions=data["logits"].shape[-1], hidden=width)
    _, logits = network.apply(
        params, network.initial_carry(data["obs"].shape[1]), data["obs"], jnp.asarray(data["dones"])
    )
    np.testing.assert_allclose(jax.nn.log_softmax(logits), data["logits"], atol=1e-5)  # recorded normalised


@pytest.mark.golden("network_and_loss_cases*.npz")
@pytest.mark.parametrize(
    "name, kind", [("reward_ff", RewardFF), ("reward_ff_mse0", RewardFF), ("reward_rnn", RewardRNN)]
)
def test_reward_models(case, name, kind):
    params, data = read(case, name)
    layers = params["params"]
    action, seen, width = (
        ("Dense_1", "Dense_3", "Dense_5") if kind is RewardFF else ("Dense_0", "Dense_1", "Dense_2")
    )
    network = kind(
        width=layers[width]["bias"].shape[0],
        n_actions=layers[action]["kernel"].shape[0],
        embedding_action=layers[action]["kernel"].shape[1],
        embedding_obs=layers[seen]["kernel"].shape[1],
    )
    _, reward = network.apply(
        params,
        network.initial_carry(data["obs"].shape[1]),
        data["obs"],
        data["actions"],
        data["world_state"],
        jnp.asarray(data["dones"]),
    )
    np.testing.assert_allclose(reward, data["reward_per_step"], atol=1e-5)


@pytest.mark.golden("network_and_loss_cases*.npz")
def test_q_values_of_several_agents(case):
    arrays = np.load(case)
    if "offline_q/obs" not in arrays.files:
        pytest.skip(f"{case.name} has no case offline_q")
    obs, done = arrays["offline_q/obs"], arrays["offline_q/done"]
    steps, agents, batch, size = obs.shape
    rows = np.reshape(obs, (steps, agents * batch, size))
    resets = jnp.asarray(np.tile(done, (1, agents)))  # recorded with the same step's done
    for which, recorded in (("online", "q"), ("target", "target_q")):
        params = parameters(arrays, f"offline_q/{which}")
        q = arrays[f"offline_q/{recorded}"]
        network = QNetwork(n_actions=q.shape[-1], hidden=params["params"]["Dense_0"]["bias"].shape[0])
        _, ours = network.apply(params, network.initial_carry(agents * batch), rows, resets)
        np.testing.assert_allclose(np.reshape(ours, q.shape), q, atol=1e-5)


@pytest.mark.parametrize("network", [QNetwork(5, 8), TwinQNetwork(5, 8), RecurrentActor(5, 8)])
def test_a_reset_starts_a_new_sequence(network):
    obs = jax.random.normal(jax.random.key(0), (6, 2, 4))
    resets = jnp.zeros((6, 2), bool)
    params = network.init(jax.random.key(1), network.initial_carry(2), obs, resets)
    _, second = network.apply(params, network.initial_carry(2), obs[3:], resets[3:])
    _, whole = network.apply(params, network.initial_carry(2), obs, resets.at[3, 0].set(True))
    np.testing.assert_allclose(whole[3:, 0], second[:, 0], atol=1e-6)
    assert np.abs(whole[3:, 1] - second[:, 1]).max() > 1e-3  # the other row remembers


def test_twins_are_two_networks_and_the_smaller_value():
    twin, single = TwinQNetwork(5, 8), QNetwork(5, 8)
    obs, resets = jax.random.normal(jax.random.key(0), (3, 2, 4)), jnp.zeros((3, 2), bool)
    params = twin.init(jax.random.key(1), twin.initial_carry(2), obs, resets)
    _, both = twin.apply(params, twin.initial_carry(2), obs, resets)
    q = [
        single.apply({"params": params["params"][name]}, single.initial_carry(2), obs, resets)[1]
        for name in ("QNetwork_0", "QNetwork_1")
    ]
    np.testing.assert_array_equal(both, np.minimum(*q))
    assert (q[0] < q[1]).any() and (q[0] > q[1]).any()


def test_initial_weights():
    network = QNetwork(5)
    shapes = (network.initial_carry(1), jnp.zeros((1, 1, 21)), jnp.zeros((1, 1), bool))
    params = network.init(jax.random.key(0), *shapes)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 26_565  # Spread, three agents
    kernel = params["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(kernel @ kernel.T, 4 * np.eye(21), atol=1e-4)
    hidden = params["params"]["ScannedRNN_0"]["GRUCell_1"]["hz"]["kernel"]
    np.testing.assert_allclose(hidden @ hidden.T, np.eye(64), atol=1e-4)
    assert not params["params"]["Dense_1"]["bias"].any()


def test_the_actor_of_an_actor_critic_stands_alone():
    both, actor = ActorCritic(6, 8), FeedForwardActor(6, 8)
    obs = jax.random.normal(jax.random.key(0), (4, 3, 10))
    params = both.init(jax.random.key(1), obs)
    logits, value = both.apply(params, obs)
    carry, alone = actor.apply(
        ActorCritic.actor(params), actor.initial_carry(3), obs, jnp.zeros((4, 3), bool)
    )
    np.testing.assert_allclose(alone, logits, atol=1e-6)
    assert value.shape == (4, 3) and carry.shape == (3, 0)
