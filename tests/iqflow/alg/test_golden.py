"""Single updates against the original's recorded values (spec 11, checks 5 to 8)."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from iqflow.alg import followers, iqflow, meta
from iqflow.alg import incentive_designer_ac as idac
from iqflow.alg import incentive_designer_pg as idpg
from iqflow.alg.episodes import Batch, Episode, Experience
from iqflow.alg.followers import ActorCriticState
from iqflow.alg.iqflow import Critic, IQFlow, Mechanism
from iqflow.networks import actors, critics, joint_q, layers
from iqflow.networks.layers import Sizes


def settings_of(recorded):
    return json.loads(str(recorded["meta"]))


def sizes_of(meta, observation_shape, n_filters=0):
    nn = meta.get("nn", meta)
    hidden_incentive = (nn["n_hr1"], nn["n_hr2"]) if "n_hr1" in nn else None
    return Sizes(
        meta.get("n_agents", 1),
        meta["n_actions"],
        tuple(observation_shape),
        (nn["n_h1"], nn["n_h2"]),
        hidden_incentive,
        nn.get("n_filters", n_filters),
    )


def tree(recorded, prefix):
    """A stored network, heads stacked."""
    net = jax.tree.map(jnp.asarray, recorded.tree(prefix))
    assert net, f"no entries below {prefix}/"
    heads = [net.pop(f"mlp_list_{i}") for i in range(sum(name.startswith("mlp_list_") for name in net))]
    return net | {"mlp_list": jax.tree.map(lambda *leaves: jnp.stack(leaves), *heads)} if heads else net


def adam(recorded, prefix):
    """An Adam state stored as `prefix.mu`, `.nu`, `.count`."""
    state = optax.ScaleByAdamState(
        jnp.asarray(recorded[f"{prefix}.count"]),
        tree(recorded, f"{prefix}.mu"),
        tree(recorded, f"{prefix}.nu"),
    )
    return state, *optax.adam(1.0).init(())[1:]


def rmsprop(recorded, prefix, params):
    """An RMSProp state stored as `prefix.nu`."""
    fresh = optax.rmsprop(1.0).init(params)
    return (fresh[0]._replace(nu=tree(recorded, f"{prefix}.nu")), *fresh[1:])


def batch_of(recorded, prefix):
    return Batch(
        *(
            jnp.asarray(recorded[f"{prefix}.{name}"], dtype)
            for name, dtype in zip(
                ("obs", "action", "reward", "obs_next", "done"),
                (jnp.float32, jnp.int32, jnp.float32, jnp.float32, jnp.float32),
                strict=True,
            )
        )
    )


def episode_of(recorded, prefix):
    batch = batch_of(recorded, prefix)
    return Episode(*batch, jnp.ones(batch.actions.shape[0]))


def stacked(recorded, prefix, n_agents):
    """Parameters stored as `prefix0`, `prefix1`, ... with the leading axis N."""
    nets = [tree(recorded, f"{prefix}{i}") for i in range(n_agents)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)


def assert_trees_close(ours, theirs, atol):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for path, leaf in jax.tree_util.tree_leaves_with_path(theirs):
        mine = ours
        for key in path:
            mine = mine[key.key]
        np.testing.assert_allclose(mine, leaf, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path))


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


NAMES = {"coop": "coop", "env": "env_model", "rew": "rewarder_model"}


def settings(recorded):
    meta_data = settings_of(recorded)
    observation_shape = recorded["critic_batch.obs"].shape[2:]
    chosen = [
        "tau",
        "expectile",
        "lr_reward",
        "lr_v_model",
        "lr_v_rewarder",
        "r_multiplier",
        "use_mini_init",
        "obj_mask",
        "cost_type",
    ]
    chosen += ["gamma", "cost_reg_coeff", "cost_reg_coeff2"]
    return IQFlow(sizes_of(meta_data, observation_shape), **{name: meta_data[name] for name in chosen})


def mechanism(recorded):
    def critic(name):
        state = adam if name == "coop" else lambda r, p: rmsprop(r, p, tree(r, p.replace("in_opt", "in", 1)))
        full = NAMES[name]
        return Critic(
            tree(recorded, f"in.{full}_qcritic"),
            tree(recorded, f"in.target_{full}_qcritic"),
            tree(recorded, f"in.{full}_vcritic"),
            state(recorded, f"in_opt.{full}_qcritic"),
            state(recorded, f"in_opt.{full}_vcritic"),
        )

    rewarder = tree(recorded, "in.rewarder")
    optimiser = rmsprop(recorded, "in_opt.rewarder", rewarder)
    return Mechanism(rewarder, optimiser, *(critic(name) for name in NAMES))


@pytest.mark.golden("qflow_*.npz")
def test_networks(recorded):
    s, m, batch = settings(recorded), mechanism(recorded), batch_of(recorded, "critic_batch")
    inputs = joint_q.inputs(s.sizes, batch.observations, batch.actions)
    for name, critic in (("coop", m.coop), ("env", m.env), ("rew", m.rew)):
        np.testing.assert_allclose(joint_q.values(critic.q, inputs), recorded[f"fwd.{name}_q"], atol=1e-5)
    value = critics.team_value(s.sizes, m.coop.v, batch.observations)
    np.testing.assert_allclose(value, recorded["fwd.coop_v"][..., 0], atol=1e-5)
    for name, critic in (("env", m.env), ("rew", m.rew)):
        value = critics.each_value(s.sizes, critic.v, batch.observations)
        expected = np.broadcast_to(recorded[f"fwd.{name}_v"], value.shape)
        np.testing.assert_allclose(value, expected, atol=1e-5, rtol=1e-5)
    given = iqflow.incentives(s, m.rewarder, batch.observations, batch.actions)
    np.testing.assert_allclose(given, recorded["fwd.incentives"], atol=1e-5)
    first = iqflow.incentives(s, m.rewarder, batch.observations[0], batch.actions[0])
    np.testing.assert_allclose(first, recorded["fwd.give_reward_first_sample"], atol=1e-5)


@pytest.mark.golden("qflow_*.npz")
def test_critic_update(recorded):
    s = settings(recorded)
    after, losses = jax.jit(iqflow.critic_update, static_argnums=0)(
        s, mechanism(recorded), batch_of(recorded, "critic_batch")
    )
    for name, full in NAMES.items():
        for kind in "qv":
            loss = getattr(losses, f"{name}_{kind}")
            np.testing.assert_allclose(loss, recorded[f"critic_out.{full}_{kind}critic_loss"], rtol=1e-4)
        critic = getattr(after, name)
        assert_trees_close(critic.q, tree(recorded, f"after_critic.{full}_qcritic"), 1e-5)
        assert_trees_close(critic.v, tree(recorded, f"after_critic.{full}_vcritic"), 1e-5)
        assert_trees_close(critic.target_q, tree(recorded, f"after_critic.target_{full}_qcritic"), 1e-5)


@pytest.mark.golden("qflow_*.npz")
def test_meta_update(recorded):
    s = settings(recorded)
    m, _ = jax.jit(iqflow.critic_update, static_argnums=0)(
        s, mechanism(recorded), batch_of(recorded, "critic_batch")
    )
    old, new = batch_of(recorded, "meta_old_batch"), batch_of(recorded, "meta_new_batch")
    gradient, report = jax.jit(meta.meta_gradient, static_argnums=0)(s, m, old, new)
    np.testing.assert_allclose(report.total, recorded["meta_out.rewarder_loss"], rtol=1e-4)
    np.testing.assert_allclose(report.match, recorded["meta_out.meta_loss"], rtol=1e-4)
    np.testing.assert_allclose(report.cost, recorded["meta_out.incentive_cost"], rtol=1e-4)
    np.testing.assert_allclose(report.inner_losses, recorded["meta_out.inner_losses"], rtol=1e-4)
    for name in ("coop", "env", "follower"):
        np.testing.assert_array_equal(getattr(report, f"greedy_{name}"), recorded[f"meta_out.greedy_{name}"])
    expected = tree(recorded, "meta_out.grad.rewarder")
    assert jax.tree.structure(gradient) == jax.tree.structure(expected)
    error = np.max(np.abs(flat(gradient) - flat(expected))) / np.linalg.norm(flat(expected))
    assert error < 1e-3
    psi, _ = jax.jit(meta.fitted_critic, static_argnums=0)(s, m.rewarder, m, old)
    assert_trees_close(psi, tree(recorded, "meta_out.inner_final"), 1e-4)

    after, _ = jax.jit(meta.meta_update, static_argnums=0)(s, m, old, new)
    assert_trees_close(after.rewarder, tree(recorded, "meta_out.new.rewarder"), 1e-5)
    nu = after.rewarder_optimiser[0].nu
    assert_trees_close(nu, tree(recorded, "meta_out.new_opt.rewarder.nu"), 1e-5)
    assert all(
        jnp.array_equal(a, b) for a, b in zip(jax.tree.leaves(after[2:]), jax.tree.leaves(m[2:]), strict=True)
    )


def experience_of(recorded):
    """One agent's episode; the REINFORCE cases store no next observations and no ends."""
    observations = jnp.asarray(recorded["obs"])
    actions, rewards = jnp.asarray(recorded["action"], jnp.int32), jnp.asarray(recorded["reward"])
    following = jnp.asarray(recorded["obs_next"]) if "obs_next" in recorded else observations
    dones = jnp.asarray(recorded["done"], jnp.float32) if "done" in recorded else jnp.zeros(actions.shape)
    return Experience(observations, actions, rewards, following, dones, jnp.ones(actions.shape))


def own_sizes(recorded):
    """Sizes for one follower; the number of actions is that of the recorded policies."""
    meta_data = settings_of(recorded) | {"n_agents": 1, "n_actions": recorded["fwd.log_probs"].shape[-1]}
    return sizes_of(meta_data, recorded["obs"].shape[1:])


@pytest.mark.golden("pg_*.npz")
def test_reinforce_update(recorded):
    meta_data = settings_of(recorded)
    chosen = {name: meta_data[name] for name in ("gamma", "entropy_coeff", "lr_actor", "optimizer")}
    learner = followers.Reinforce(own_sizes(recorded), **chosen)
    actor, experience = tree(recorded, "in.actor"), experience_of(recorded)
    log_probs = actors.log_policy(learner.sizes, actor, experience.observations)
    np.testing.assert_allclose(log_probs, recorded["fwd.log_probs"], atol=1e-5)
    state = jax.jit(learner.init)(jax.random.key(0))._replace(actor=actor)
    state, losses = jax.jit(learner.update)(state, experience)
    np.testing.assert_allclose(losses.actor, recorded["out.loss"], rtol=1e-5)
    assert_trees_close(state.actor, tree(recorded, "out.actor"), 1e-5)


@pytest.mark.golden("ac_*.npz")
def test_actor_critic_update(recorded):
    meta_data = settings_of(recorded)
    chosen = {name: meta_data[name] for name in ("gamma", "entropy_coeff", "lr_actor", "lr_v", "tau")}
    learner = followers.ActorCritic(own_sizes(recorded), **chosen)
    names = ("actor", "critic", "target_critic")
    optimisers = (adam(recorded, "in_opt.actor"), adam(recorded, "in_opt.critic"))
    state = ActorCriticState(*(tree(recorded, f"in.{name}") for name in names), *optimisers)
    experience = experience_of(recorded)
    log_probs = actors.log_policy(learner.sizes, state.actor, experience.observations)
    np.testing.assert_allclose(log_probs, recorded["fwd.log_probs"], atol=1e-5)
    value = critics.own_value(learner.sizes, state.critic, experience.observations)
    np.testing.assert_allclose(value, recorded["fwd.v"][:, 0], atol=1e-5)
    state, losses = jax.jit(learner.update)(state, experience)
    np.testing.assert_allclose(losses.critic, recorded["out.critic_loss"], rtol=1e-5)
    np.testing.assert_allclose(losses.actor, recorded["out.actor_loss"], rtol=1e-5)
    np.testing.assert_allclose(losses.value, recorded["out.v"], rtol=1e-4)
    for name in names:
        assert_trees_close(getattr(state, name), tree(recorded, f"out.{name}"), 1e-5)


def designer_settings(meta_data, names):
    return {name: meta_data[name] for name in names if name in meta_data} | {
        "lr_actor": meta_data["lr_actor_inner"] if "lr_actor_inner" in meta_data else meta_data["lr_actor"]
    }


@pytest.mark.golden("idpg_[!o]*.npz")
def test_designer_policy_gradient(recorded):
    meta_data = settings_of(recorded)
    old, new = episode_of(recorded, "old"), episode_of(recorded, "new")
    names = [
        "gamma",
        "entropy_coeff",
        "lr_reward",
        "lr_cost",
        "reg_coeff",
        "separate_cost_optimizer",
        "r_multiplier",
    ]
    sizes = sizes_of(meta_data, old.observations.shape[2:])
    designer = idpg.Designer(sizes, **designer_settings(meta_data, names))
    cost_optimiser = adam(recorded, "in_opt1") if designer.separate_cost_optimizer else None
    state = idpg.DesignerState(tree(recorded, "in.rewarder"), adam(recorded, "in_opt0"), cost_optimiser)
    old_actors = stacked(recorded, "in.actor", sizes.n_agents)

    gradient, cost_gradient, losses = jax.jit(idpg.gradients, static_argnums=0)(
        designer, state.rewarder, old_actors, old, new
    )
    if not designer.separate_cost_optimizer:  # recorded: the gradient of the sum
        gradient = jax.tree.map(lambda g, c: g + designer.reg_coeff * c, gradient, cost_gradient)
    for ours, name in ((gradient, "grad"), (cost_gradient, "cost_grad")):
        expected = tree(recorded, f"out.{name}")
        assert_trees_close(ours, expected, 1e-4 * float(np.linalg.norm(flat(expected))))
    total = losses.objective
    if not designer.separate_cost_optimizer:
        total = total + designer.reg_coeff * losses.cost
    np.testing.assert_allclose(total, recorded["out.rewarder_loss"], rtol=1e-4)
    np.testing.assert_allclose(losses.cost, recorded["out.incentive_cost"], rtol=1e-4)

    after, _ = jax.jit(idpg.update, static_argnums=0)(designer, state, old_actors, old, new)
    assert_trees_close(after.rewarder, tree(recorded, "out.rewarder"), 1e-5)


@pytest.mark.golden("idpg_o*.npz")
def test_designer_opponent_models(recorded):
    meta_data = settings_of(recorded)
    episode = episode_of(recorded, "batch")
    n_agents = meta_data["n_agents"]
    before = stacked(recorded, "in.actor", n_agents)
    layer = before["MLP_0"]
    hidden = (layer["Dense_0"]["bias"].shape[-1], layer["Dense_1"]["bias"].shape[-1])
    n_actions = layer["Dense_2"]["bias"].shape[-1]
    sizes = Sizes(n_agents, n_actions, episode.observations.shape[2:], hidden)
    designer = idpg.Designer(
        sizes, 0.99, 0.0, meta_data["lr_actor"], lr_reward=0.0, optimizer=meta_data["optimizer"]
    )
    models = jax.jit(idpg.init_models, static_argnums=0)(designer, jax.random.key(0))
    models = models._replace(actors=before)
    models, losses = jax.jit(idpg.update_models, static_argnums=0)(designer, models, episode)
    np.testing.assert_allclose(losses, recorded["out.losses"], rtol=1e-4)
    assert_trees_close(models.actors, stacked(recorded, "out.actor", n_agents), 1e-5)


@pytest.mark.golden("idac_*.npz")
def test_designer_actor_critic(recorded):
    meta_data = settings_of(recorded)
    old, new = episode_of(recorded, "old"), episode_of(recorded, "new")
    names = ["gamma", "entropy_coeff", "lr_reward", "lr_v_model", "reg_coeff", "tau", "r_multiplier"]
    sizes = sizes_of(meta_data, old.observations.shape[2:], meta_data["n_filters_config"])
    assert meta_data["n_filters_mech"] == sizes.n_filters * sizes.n_agents
    designer = idac.Designer(sizes, **designer_settings(meta_data, names))
    state = idac.DesignerState(
        tree(recorded, "in.rewarder"),
        tree(recorded, "in.critic"),
        tree(recorded, "in.target_critic"),
        adam(recorded, "in_opt.rewarder"),
        adam(recorded, "in_opt.critic"),
    )
    own = [stacked(recorded, f"in.{name}", sizes.n_agents) for name in ("actor", "critic")]
    state, losses = jax.jit(idac.update, static_argnums=0)(designer, state, *own, old, new)
    np.testing.assert_allclose(losses.total, recorded["out.rewarder_loss"], rtol=1e-4)
    np.testing.assert_allclose(losses.critic, recorded["out.critic_loss"], rtol=1e-4)
    np.testing.assert_allclose(losses.value, recorded["out.v"], rtol=1e-4)
    for name in ("rewarder", "critic", "target_critic"):
        assert_trees_close(getattr(state, name), tree(recorded, f"out.{name}"), 1e-5)


@pytest.mark.golden("pure_functions*.json")
def test_pure_functions(case):
    recorded = json.loads(case.read_text())
    loss = recorded["asymmetric_loss"]
    ours = iqflow.expectile_loss(jnp.array(loss["diff"]), loss["expectile"])
    np.testing.assert_allclose(ours, loss["out"], rtol=1e-6)
    codes = recorded["action_1hot_flat"]
    ours = layers.joint_one_hot(jnp.array(codes["actions"]), codes["n"])
    np.testing.assert_array_equal(ours, codes["out"])
    for name, scale in (("default_init", 1.0), ("mini_init", layers.MINI)):
        kernel = layers.init_dense(jax.random.key(1), *recorded[name]["shape"], scale)["kernel"]
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), recorded[name]["column_norms"], rtol=1e-5)
