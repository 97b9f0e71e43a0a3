"""Losses, gradients, optimiser steps and batches of the original, replayed (acceptance items 5 and 6)."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from stackerlberg.batched import adam, es, networks, pg, ppo, simple_q
from stackerlberg.batched.kinds import Kinds
from stackerlberg.batched.learners import Settings, Steps

CLOSE = {"atol": 1e-5, "rtol": 0}


def lanes(values):
    """A value as one lane."""
    return jnp.asarray(values)[..., None]


def steps_of(episodes):
    """Episodes of one length as the steps of one lane."""
    columns = [np.array([episode[key] for episode in episodes]).T for key in ("obs", "actions", "rewards")]
    obs, actions, rewards = (lanes(column) for column in columns)
    return Steps(obs, actions, rewards.astype(jnp.float32), jnp.zeros_like(obs), rewards.sum(0))


def numbers(case, name):
    return json.loads(case.read_text())[name]


@pytest.mark.golden("loss_cases*.json")
def test_pg(case):
    for found in numbers(case, "pg"):
        steps = steps_of(found["episodes"])
        logits = lanes(np.float32(found["W0"]))
        expected = np.array([episode["reward_to_go"] for episode in found["episodes"]]).T
        np.testing.assert_array_equal(pg.reward_to_go(steps.rewards)[..., 0], expected)
        params = {"layer0": logits}
        moments = adam.start(params)
        sums, n = pg.return_sums(steps, found["n_obs"], 2)
        for step in found["adam_steps"]:
            loss, gradient = pg.loss_and_gradient(params["layer0"], sums, n)
            params, moments = adam.step(params, moments, {"layer0": gradient}, found["lr"])
            np.testing.assert_allclose(loss[0], step["loss"], **CLOSE)
            np.testing.assert_allclose(gradient[..., 0], step["grad_logits_weight"], **CLOSE)
            np.testing.assert_allclose(params["layer0"][..., 0], step["weights_after"], **CLOSE)


@pytest.mark.golden("loss_cases*.json")
def test_ppo(case):
    for found in numbers(case, "ppo"):
        settings = Settings(
            "PPO",
            clip=found["clip_param"],
            value_clip=found["vf_clip_param"],
            value_coefficient=found["vf_loss_coeff"],
            entropy_coefficient=found["entropy_coeff"],
        )
        params = {"layer0": lanes(np.float32(found["W0"])), "value": lanes(np.float32(found["V0"][0]))}
        samples = ppo.samples_of(steps_of(found["episodes"]), params["value"])
        for name, values in (("advantages_raw", samples.advantages), ("value_targets", samples.targets)):
            expected = np.array([episode[name] for episode in found["episodes"]]).T.reshape(-1)
            np.testing.assert_allclose(values[:, 0], expected, **CLOSE)
        samples = samples._replace(advantages=ppo.standardised(samples.advantages))
        by_episode = np.asarray(samples.advantages).reshape(-1, len(found["episodes"])).T.reshape(-1)
        np.testing.assert_allclose(by_episode, found["standardized_advantages"], **CLOSE)
        old = jnp.log(jnp.exp(params["layer0"]) / jnp.exp(params["layer0"]).sum(0, keepdims=True))
        data = ppo.gather(samples, 2, found["n_obs"])
        moments, kl = adam.start(params), jnp.array([found["kl_coeff"]])
        for step in found["full_batch_adam_steps"]:
            parts, by_logits, by_value = ppo.gradients(
                settings, params["layer0"], params["value"], old, data, kl
            )
            params, moments = adam.step(
                params, moments, {"layer0": by_logits, "value": by_value}, found["lr"]
            )
            for name in ("total_loss", "policy_loss", "vf_loss", "kl", "entropy"):
                np.testing.assert_allclose(parts[name][0], step[name], **CLOSE)
            np.testing.assert_allclose(by_logits[..., 0], step["grad_logits"], **CLOSE)
            np.testing.assert_allclose(by_value[None, :, 0], step["grad_value"], **CLOSE)
            np.testing.assert_allclose(params["layer0"][..., 0], step["W"], **CLOSE)
            np.testing.assert_allclose(params["value"][None, :, 0], step["V"], **CLOSE)


@pytest.mark.golden("loss_cases*.json")
def test_simple_q(case):
    for found in numbers(case, "simple_q"):
        following = np.where(found["dones"], found["n_obs"], found["next_obs"])
        kinds = Kinds(
            np.array(found["obs"]), np.array(found["actions"]), following, lanes(np.float32(found["rewards"]))
        )
        once = jnp.ones((len(following), 1))
        params, target = {"layer0": lanes(np.float32(found["W0"]))}, lanes(np.float32(found["W_target"]))
        moments = adam.start(params)
        for step in found["adam_steps"]:
            loss, gradient = simple_q.loss_and_gradient(params["layer0"], target, kinds, once)
            clipped = adam.clip({"layer0": gradient}, found["grad_clip"])
            params, moments = adam.step(params, moments, clipped, found["lr"])
            np.testing.assert_allclose(loss[0], step["loss"], **CLOSE)
            np.testing.assert_allclose(gradient[..., 0], step["grad"], **CLOSE)
            np.testing.assert_allclose(params["layer0"][..., 0], step["W"], **CLOSE)


@pytest.mark.golden("loss_cases*.json")
def test_initialisation(case):
    found = numbers(case, "init")
    fixed = found["normc_fixed"]
    rows = networks.normc(lanes(np.float32(fixed["input"])), fixed["std"])[..., 0]
    np.testing.assert_allclose(rows, fixed["output"], **CLOSE)
    outputs, inputs = found["shapes"]["_model.weight"]
    import jax

    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in range(3)])
    table = networks.Network(outputs, inputs).fresh(keys, 3)["layer0"]
    assert table.shape == (outputs, inputs, 3)
    norms = np.sqrt((np.asarray(table) ** 2).sum(1))
    np.testing.assert_allclose(norms, np.array(found["row_norms_model"])[:, None] * np.ones(3), atol=1e-7)


@pytest.mark.golden("loss_cases*.json")
def test_evolution_strategies(case):
    found = numbers(case, "es")
    returns = np.float32(found["centered_ranks_in"])
    ranks = es.centred_ranks(lanes(returns.reshape(-1)))[..., 0]
    np.testing.assert_allclose(ranks.reshape(returns.shape), found["centered_ranks_out"], **CLOSE)
    params = {"layer0": lanes(np.float32(found["adam_theta0"]))}
    moments = adam.start(params)
    for step in found["adam"]:
        gradient = {"layer0": lanes(np.float32(step["globalg"]))}
        before = params["layer0"]
        params, moments = es.adam_step(params, moments, gradient, found["adam_stepsize"])
        np.testing.assert_allclose(params["layer0"][..., 0], step["theta"], **CLOSE)
        ratio = jnp.linalg.norm(params["layer0"] - before) / jnp.linalg.norm(before)
        np.testing.assert_allclose(ratio, step["ratio"], **CLOSE)


@pytest.mark.golden("training_batches*.json")
def test_batches_of_real_runs(case):
    """A PG batch of the original gives its loss and its weights after one step; each episode has the right rows."""
    for entry in json.loads(case.read_text()):
        for k, batch in enumerate(entry["batches"]):
            lengths = np.diff([-1, *batch["eps_id_change"], batch["n"] - 1])
            hidden = entry["env_config"].get("hidden_queries", False)
            wanted = 5 if k == 0 or hidden else 8
            assert set(lengths) == {wanted} and len(lengths) == 13
            shape = len(lengths), wanted
            columns = {key: np.array(batch[key]).reshape(shape) for key in ("obs", "actions", "rewards")}
            steps = steps_of([{key: columns[key][i] for key in columns} for i in range(len(lengths))])
            to_go = pg.reward_to_go(steps.rewards)[..., 0].T.reshape(-1)
            np.testing.assert_allclose(to_go, batch["advantages"], **CLOSE)
            logits = lanes(np.float32(batch["W0"]))
            sums, n = pg.return_sums(steps, logits.shape[1], 2)
            loss, gradient = pg.loss_and_gradient(logits, sums, n)
            params, _ = adam.step(
                {"layer0": logits}, adam.start({"layer0": logits}), {"layer0": gradient}, batch["lr"]
            )
            np.testing.assert_allclose(loss[0], batch["loss"], **CLOSE)
            np.testing.assert_allclose(params["layer0"][..., 0], batch["W1"], **CLOSE)
            assert n == batch["n"]
