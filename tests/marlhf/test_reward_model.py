"""The reward model: recorded losses, gradients, optimiser runs and schedule; the fast form; files."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.cli import UserError
from marlhf import networks, reward_model
from marlhf.data import preferences
from marlhf.reward_model import Architecture, trajectory_rewards

NAMES = ("reward_ff", "reward_ff_mse0", "reward_rnn")


def read(path, name):
    """Architecture, parameters and arrays of a recorded case; the feed-forward model's three dead layers are left out."""
    file = np.load(path)
    data = {key.removeprefix(f"{name}/"): file[key] for key in file.files if key.startswith(f"{name}/")}
    if not data:
        pytest.skip(f"{path.name} has no case {name}")
    layers, recurrent = {}, name.startswith("reward_rnn")
    for key, value in data.items():
        if key.startswith("params64/params/"):
            *folders, leaf = key.removeprefix("params64/params/").split("/")
            place = layers
            for folder in folders:
                place = place.setdefault(folder, {})
            place[leaf] = jnp.asarray(value, jnp.float32) / 64
    if not recurrent:
        layers = {key: layers[key] for key in ("Dense_1", "Dense_3", "Dense_5", "Dense_6")}
    act, seen, width = (
        layers[key]["kernel"].shape
        for key in (("Dense_0", "Dense_1", "Dense_2") if recurrent else ("Dense_1", "Dense_3", "Dense_5"))
    )
    architecture = Architecture(
        "RNN" if recurrent else "FF",
        width[1],
        act[0],
        seen[0],
        data["world_state"].shape[-1],
        act[1],
        seen[1],
    )
    return architecture, {"params": layers}, data


def loss_of(architecture, data):
    """The whole loss of the recorded minibatch as a function of the parameters."""
    inputs = [np.swapaxes(data[name], 0, 1) for name in ("obs", "actions", "world_state", "dones")]
    margins = preferences.margin(
        data["returns"], data["pair_index"], data["max_return_diff"], data["steepness"]
    )

    def loss(params):
        rewards = trajectory_rewards(architecture, params, *map(jnp.asarray, inputs))
        first, second = rewards.sum(axis=1)[data["pair_index"]]
        target = (data["preference"] + 1.0) / 2.0
        losses = reward_model.combine(first - second, target, margins, rewards, data["mse_coef"])
        return losses.total, (losses, rewards, margins)

    return loss


@pytest.mark.golden("network_and_loss_cases*.npz")
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients(case, name):
    architecture, params, data = read(case, name)
    (total, (losses, rewards, margins)), gradient = jax.jit(
        jax.value_and_grad(loss_of(architecture, data), has_aux=True)
    )(params)
    np.testing.assert_allclose(jax.nn.sigmoid(margins), data["preference_prob"], rtol=1e-5)
    np.testing.assert_allclose(rewards.T, data["reward_per_step"], atol=1e-5)
    np.testing.assert_allclose(rewards.sum(axis=1), data["predicted_return"], atol=1e-4)
    np.testing.assert_allclose(
        reward_model.roughness(rewards), data["squared_step_difference_sum"], rtol=1e-4
    )
    for found, key in (
        (total, "total_loss"),
        (losses.value, "value_loss"),
        (losses.mse, "mse_loss"),
        (losses.baseline, "baseline_loss"),
        (optax.tree.norm(gradient), "grad_global_norm"),
    ):
        np.testing.assert_allclose(found, data[key], rtol=1e-4, err_msg=key)
    leaves, _ = jax.tree_util.tree_flatten_with_path(gradient)
    assert len(leaves) == (20 if architecture.recurrent else 8)
    for path, leaf in leaves:
        key = f"grad_norm/{jax.tree_util.keystr(path, simple=True, separator='/')}"
        np.testing.assert_allclose(jnp.linalg.norm(leaf), data[key], rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.golden("network_and_loss_cases*.npz")
@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_of_the_optimiser(case, name):
    architecture, params, data = read(case, name)
    loss, optimiser = loss_of(architecture, data), reward_model.optimiser(1e-3, 0.5)

    def step(carry, _):
        params, inner = carry
        gradient, (losses, *_) = jax.grad(loss, has_aux=True)(params)
        updates, inner = optimiser.update(gradient, inner, params)
        return (optax.apply_updates(params, updates), inner), losses.total

    curve = data["loss_curve_10_steps"]
    _, found = jax.lax.scan(step, (params, optimiser.init(params)), length=len(curve))
    np.testing.assert_allclose(found, curve, rtol=1e-4)


@pytest.mark.golden("network_and_loss_cases*.npz")
def test_schedule(case):
    file = np.load(case)
    if "reward_lr_schedule/step" not in file.files:
        pytest.skip(f"{case.name} has no case reward_lr_schedule")
    found = reward_model.learning_rate(1e-3, file["reward_lr_schedule/step"])
    np.testing.assert_allclose(found, file["reward_lr_schedule/lr"], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("steps", [7, 8])
def test_the_fast_form_is_the_network_and_its_gradient(steps):
    """In one piece, since 21 steps divide into no pieces, and 24 into four of 6."""
    architecture = Architecture("FF", 32, 5, 18, 54)
    params = jax.jit(architecture.init)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    obs = jax.random.normal(jax.random.key(2), (steps, 3, 18))
    actions = jax.random.randint(jax.random.key(3), (steps, 3), 0, 5)
    weight = jax.random.normal(jax.random.key(4), (steps, 3))
    network = networks.RewardFF(32, 5)

    def plain(params):
        return network.apply(params, network.initial_carry(3), obs, actions, None, None)[1]

    def fast(params):
        return architecture.reward_fn(params, obs, actions, None, None)

    np.testing.assert_allclose(fast(params), plain(params), atol=1e-5)
    one, other = (
        jax.jit(jax.grad(lambda p, f=f: jnp.sum(weight * f(p) ** 2)))(params) for f in (fast, plain)
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


def test_the_loss_by_hand():
    # two trajectories of two steps; R = 3 and 1; the first is preferred; a judge with margin 0
    rewards = jnp.asarray([[1.0, 2.0], [1.0, 0.0]])
    losses = reward_model.combine(
        jnp.asarray([2.0, -2.0]), jnp.asarray([1.0, 0.0]), jnp.zeros(2), rewards, 0.5
    )
    value = np.log1p(np.exp(-2.0)) - np.log(2.0)
    np.testing.assert_allclose([losses.value, losses.mse], [value, 1.0], rtol=1e-4)
    np.testing.assert_allclose(losses.total, value + 0.5, rtol=1e-4)
    neither = reward_model.preference_loss(jnp.asarray([1.0]), jnp.asarray([0.5]))
    np.testing.assert_allclose(neither, (np.log1p(np.exp(-1.0)) + np.log1p(np.exp(1.0))) / 2, rtol=1e-4)


@pytest.mark.parametrize("kind", ["FF", "RNN"])
def test_a_file_holds_the_model(tmp_path, kind):
    architecture = Architecture(kind, 8, 5, 6, 4)
    params = architecture.init(jax.random.key(0))
    path = tmp_path / "model.safetensors"
    reward_model.save(path, architecture, params, {"seed": 3})
    found, read_back, made_by = reward_model.load(path)
    assert found == architecture and made_by == {"seed": 3}
    assert jax.tree.structure(read_back) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(read_back), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)


class OtherTask:
    id, n_actions, obs_size = "MPE_simple_reference_v3", 50, 21


def test_a_wrong_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="python train/reward_model.py makes it"):
        reward_model.load(path)
    architecture = Architecture("FF", 8, 5, 6, 4)
    reward_model.save(path, architecture, architecture.init(jax.random.key(0)), {})
    with pytest.raises(UserError, match="observations of size 6 and 5 actions.*has 21 and 50"):
        reward_model.load(path, OtherTask)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        reward_model.load(path)
