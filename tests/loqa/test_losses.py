"""Every loss, values and gradients: recorded variants, numerical gradients, numbers by hand, properties."""

import dataclasses
import json

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from common.cli import UserError
from loqa import losses
from loqa.losses import Experience, Heads
from loqa.objective import METHODS, Objective


def _objective(defaults: dict, changes: dict, ios_form: str) -> Objective:
    """The objective of a variant: dotted keys over the recorded defaults."""
    tree = json.loads(json.dumps(defaults))
    for key, value in changes.items():
        *folders, leaf = key.split(".")
        place = tree
        for folder in folders:
            place = place[folder]
        assert leaf in place, f"{key} is no setting of the recorded variants"
        place[leaf] = value
    opponent = tree["differentiable_opponent"]
    return Objective(
        method=opponent["method"],
        n_step=opponent["n_step"],
        discount=opponent["discount"],
        differentiable_current_reward=opponent["differentiable_current_reward"],
        stop_grad_normalizing_constant=opponent["stop_grad_normalizing_constant"] == "enabled",
        inf_weight=tree["actor"]["train"]["inf_weight"],
        op_softmax_temp=tree["op_softmax_temp"],
        reward_discount=tree["reward_discount"],
        advantage=tree["actor"]["train"]["advantage"],
        ios_form=ios_form,
    )


def _variants(folder, case) -> dict[str, Objective]:
    """Every variant that a file of cases holds, by the JSON file beside it."""
    described = json.loads((folder / "losses_variants.json").read_text())
    defaults = described["defaults"]
    variants = {
        name: _objective(defaults, changes, "coin") for name, changes in described["variants"].items()
    }
    if "ipd_loaded_ios.loss_opponent" in case:
        ios = {"differentiable_opponent.method": "loaded-ios"}
        variants["ipd_loaded_ios"] = _objective(defaults, ios, "ipd")
    return variants


def _situation(recorded):
    """Tables of the learner [T+1, A], heads of the opponent [T+1, B, A], experience [T, B]."""
    player = int(recorded["player_to_train"])
    actions, rewards = np.moveaxis(recorded["act"], 0, 1), np.moveaxis(recorded["rew"], 0, 1)
    experience = Experience(
        actions[..., player], rewards[..., player], actions[..., 1 - player], rewards[..., 1 - player]
    )
    opponent = Heads(
        jax.nn.log_softmax(jnp.moveaxis(recorded["op_logits"], 0, 1)), jnp.moveaxis(recorded["op_q"], 0, 1)
    )
    return Experience(*map(jnp.asarray, experience)), opponent


def _heads(table: dict, batch: int) -> Heads:
    def spread(array):
        return jnp.broadcast_to(array[:, None], (array.shape[0], batch, array.shape[1]))

    return Heads(spread(jax.nn.log_softmax(table["logits"])), spread(table["q"]))


@pytest.mark.golden("losses_case*.npz")
def test_recorded_losses(recorded, case):
    experience, opponent = _situation(recorded)
    table = {name: jnp.asarray(recorded[f"agent_{name}"]) for name in ("logits", "q")}
    batch = experience.actions.shape[1]
    variants = _variants(case.parent, recorded)
    for name, objective in variants.items():

        def all_losses(table, objective=objective):
            return losses.actor_losses(objective, _heads(table, batch), opponent, experience)

        values, jacobian = jax.jit(lambda table, f=all_losses: (f(table), jax.jacrev(f)(table)))(table)
        for part in ("agent", "opponent", "entropy"):
            where = f"{name}.{part}"
            np.testing.assert_allclose(
                getattr(values, part), recorded[f"{name}.loss_{part}"], atol=1e-5, err_msg=where
            )
            for leaf in ("logits", "q"):
                np.testing.assert_allclose(
                    getattr(jacobian, part)[leaf],
                    recorded[f"{name}.grad_{part}_{leaf}"],
                    atol=1e-5,
                    err_msg=f"{where} d{leaf}",
                )
    untested = {key.split(".")[0] for key in recorded if ".loss_opponent" in key} - set(variants)
    assert not untested


@pytest.mark.golden("losses_case*.npz")
@pytest.mark.parametrize("mode", ["mean", "argmax"])
def test_recorded_q_losses(recorded, mode):
    experience, _ = _situation(recorded)
    batch = experience.actions.shape[1]
    target = _heads({name: jnp.asarray(recorded[f"ema_{name}"]) for name in ("logits", "q")}, batch)

    def loss(table):
        heads = _heads(table, batch)
        return losses.q_loss(mode, heads.q, target, experience.actions, experience.rewards, 0.96)

    table = {name: jnp.asarray(recorded[f"agent_{name}"]) for name in ("logits", "q")}
    value, gradient = jax.jit(jax.value_and_grad(loss))(table)
    np.testing.assert_allclose(value, recorded[f"q_{mode}.loss"], atol=1e-5)
    for leaf in ("logits", "q"):
        np.testing.assert_allclose(gradient[leaf], recorded[f"q_{mode}.grad_{leaf}"], atol=1e-5)


@pytest.mark.golden("small_maths.npz")
def test_recorded_small_maths(recorded):
    error = jnp.asarray(recorded["huber_in"])
    np.testing.assert_allclose(losses.huber(error), recorded["huber_out"], atol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(losses.huber))(error), recorded["huber_grad"], atol=1e-6)
    log_probs = jax.nn.log_softmax(jnp.asarray(recorded["logits"]))
    np.testing.assert_allclose(log_probs, recorded["log_softmax"], atol=1e-6)
    np.testing.assert_allclose(losses.entropy(log_probs), recorded["entropy"], atol=1e-6)


@pytest.mark.golden("small_maths.npz")
@pytest.mark.parametrize("stopped", [True, False])
def test_recorded_normaliser(recorded, stopped):
    """The recorded Jacobians are of log softmax in its input; ours replaces the entry of the action taken."""
    (size,) = recorded["stopgrad_logsoftmax_out"].shape
    rows = [
        row
        for row in recorded["logits"]
        if np.allclose(jax.nn.log_softmax(row), recorded["stopgrad_logsoftmax_out"], atol=1e-6)
    ]
    jacobian = recorded["stopgrad_logsoftmax_jac" if stopped else "plain_logsoftmax_jac"]
    (row,) = rows
    for action in range(size):

        def log_policy(value, action=action):
            objective = Objective(stop_grad_normalizing_constant=stopped)
            return losses.opponent_log_policy(
                objective, jnp.asarray(row)[None, None], jnp.array([[action]]), value[None, None]
            )[0, 0]

        value, slope = jax.value_and_grad(log_policy)(jnp.asarray(row[action]))
        np.testing.assert_allclose(value, recorded["stopgrad_logsoftmax_out"][action], atol=1e-6)
        np.testing.assert_allclose(slope, jacobian[action, action], atol=1e-6)


# --- by hand and numerically -------------------------------------------------------------------------------------


def _by_hand():
    """Two steps, two actions, one episode: uniform learner, certain values (see the test below)."""
    learner = Heads(jnp.log(jnp.full((3, 1, 2), 0.5)), jnp.array([[[1.0, 3.0]], [[0.0, 2.0]], [[4.0, 4.0]]]))
    opponent = Heads(jnp.log(jnp.full((3, 1, 2), 0.5)), jnp.array([[[0.0, 1.0]], [[2.0, 2.0]], [[0.0, 0.0]]]))
    experience = Experience(
        jnp.array([[0], [1]]), jnp.array([[1.0], [-1.0]]), jnp.array([[1], [0]]), jnp.array([[2.0], [3.0]])
    )
    return learner, opponent, experience


def test_two_steps_by_hand():
    """gamma = 1/2, lambda = 1. V = (2, 1, 4), A = (1 + 1/2 - 2, -1 + 2 - 1) = (-1/2, 0).

    Agent: -(log(1/2) (-1/2)) / 2. Opponent: G = (3.5, 3), q_0 = 2 + 3/2 against the head's 0 in the softmax;
    A_1 = 0 leaves -(log sigmoid(3.5)) (-1/2) / 2. Entropy: -log 2.
    """
    objective = Objective(reward_discount=0.5, discount=1.0)
    learner, opponent, experience = _by_hand()
    found = losses.actor_losses(objective, learner, opponent, experience)
    log_policy = -np.log1p(np.exp(-3.5))
    np.testing.assert_allclose(found.agent, np.log(0.5) / 4, rtol=1e-6)
    np.testing.assert_allclose(found.opponent, log_policy / 4, rtol=1e-5)
    np.testing.assert_allclose(found.entropy, -np.log(2.0), rtol=1e-6)

    def shaping(log_probs):
        return losses.actor_losses(
            dataclasses.replace(objective, stop_grad_advantage=True),
            Heads(log_probs, learner.q),
            opponent,
            experience,
        ).opponent

    # only l_1 acts, through q_0: gamma (G_1 - V_1) (1 - pihat_0) A_0 (-1 / T), with V_1 = 2 of the opponent
    slope = jax.grad(shaping)(learner.log_probs)
    expected = np.zeros((3, 1, 2))
    expected[1, 0, 1] = 0.5 * (3 - 2) * (1 - np.exp(log_policy)) * -0.5 * -0.5
    np.testing.assert_allclose(slope, expected, atol=1e-6)


def test_q_loss_by_hand():
    """r = (1, -1), gamma = 1/2, actions (0, 1), target values (8, 2) and policy (1/2, 1/2) at the end."""
    target = Heads(jnp.log(jnp.full((3, 1, 2), 0.5)), jnp.array([[[0.0, 0.0]], [[8.0, 2.0]], [[6.0, 0.0]]]))
    q = jnp.zeros((3, 1, 2))
    actions, rewards = jnp.array([[0], [1]]), jnp.array([[1.0], [-1.0]])

    def targets(mode, kind):
        return losses.q_targets(mode, target, actions, rewards, 0.5, target_kind=kind)[:, 0]

    np.testing.assert_allclose(targets("mean", "bootstrapped"), [2.0, 0.5])
    np.testing.assert_allclose(targets("argmax", "bootstrapped"), [5.0, 2.0])
    np.testing.assert_allclose(targets("mean", "finite-horizon"), [2.0, -1.0])
    np.testing.assert_allclose(targets("mean", "monte-carlo"), [0.5, -1.0])
    huber = losses.q_loss("mean", q, target, actions, rewards, 0.5)
    square = losses.q_loss("mean", q, target, actions, rewards, 0.5, loss="squared")
    np.testing.assert_allclose([huber, square], [(1.5 + 0.125) / 2, (2.0 + 0.125) / 2])


def _random_situation(seed, steps=4, batch=3, actions=4):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    def acts():
        return jnp.asarray(rng.integers(0, actions, (steps, batch)))

    shape = (steps + 1, batch, actions)
    opponent = Heads(jax.nn.log_softmax(draw(*shape)), draw(*shape))
    experience = Experience(acts(), draw(steps, batch), acts(), draw(steps, batch))
    return (draw(*shape), draw(*shape)), opponent, experience


@pytest.mark.parametrize("advantage", ["TD0", "MC"])
@pytest.mark.parametrize("stopped", [True, False])
def test_agent_gradient_is_numerical(advantage, stopped):
    """The agent's loss has no magic box: what is not stopped has the gradient that finite differences see."""
    objective = Objective(advantage=advantage, stop_grad_advantage=stopped)
    (logits, q), opponent, experience = _random_situation(0)

    def loss(logits, q, constant_logits, constant_q):
        """The loss with the advantage computed from the second pair, as stopping has it."""
        values = losses.state_values(Heads(jax.nn.log_softmax(constant_logits), constant_q))
        weight = losses.advantages(objective, experience.rewards, values)
        return -jnp.mean(losses.chosen(jax.nn.log_softmax(logits)[:-1], experience.actions) * weight)

    def ours(logits, q):
        heads = Heads(jax.nn.log_softmax(logits), q)
        return losses.actor_losses(objective, heads, opponent, experience).agent

    rng, step = np.random.default_rng(1), 1e-2
    for argument in (0, 1):
        along = jnp.asarray(rng.normal(size=logits.shape), jnp.float32)
        along = along / jnp.linalg.norm(along)

        def moved(size, argument=argument, along=along):
            point = [logits, q]
            point[argument] = point[argument] + size * along
            fixed = advantage == "MC" or stopped
            return float(loss(*point, *((logits, q) if fixed else point)))

        slope = (moved(step) - moved(-step)) / (2 * step)
        gradient = jax.jit(jax.grad(ours, argument))(logits, q)
        np.testing.assert_allclose(jnp.vdot(gradient, along), slope, atol=2e-4)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(METHODS), order=st.permutations(range(3)))
def test_losses_do_not_depend_on_the_order_of_episodes(seed, method, order):
    (logits, q), opponent, experience = _random_situation(seed)
    order = np.array(order)

    def permuted(tree):
        return jax.tree.map(lambda leaf: leaf[:, order], tree)

    learner = Heads(jax.nn.log_softmax(logits), q)
    whole = losses.actor_losses(Objective(method=method), learner, opponent, experience)
    mixed = losses.actor_losses(Objective(method=method), *map(permuted, (learner, opponent, experience)))
    np.testing.assert_allclose(whole, mixed, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ios_form", ["coin", "ipd"])
def test_opponents_get_no_gradient(method, ios_form):
    (logits, q), opponent, experience = _random_situation(3)
    objective = Objective(method=method, ios_form=ios_form)

    def total(opponent):
        return sum(losses.actor_losses(objective, Heads(jax.nn.log_softmax(logits), q), opponent, experience))

    for leaf in jax.jit(jax.grad(total))(opponent):
        np.testing.assert_array_equal(leaf, jnp.zeros_like(leaf))


def test_stopping_the_advantage_changes_gradients_and_no_values():
    (logits, q), opponent, experience = _random_situation(4)

    def both(logits, q, stopped):
        heads = Heads(jax.nn.log_softmax(logits), q)
        found = losses.actor_losses(Objective(stop_grad_advantage=stopped), heads, opponent, experience)
        return found.agent + found.opponent

    (kept, (_, kept_q)), (stopped, (_, stopped_q)) = (
        jax.value_and_grad(both, (0, 1))(logits, q, flag) for flag in (False, True)
    )
    assert kept == stopped
    assert jnp.abs(kept_q).max() > 1e-3
    np.testing.assert_array_equal(stopped_q, jnp.zeros_like(q))


def test_entropy_of_a_certain_policy_is_zero_with_a_finite_gradient():
    log_probs = jnp.array([[0.0, -jnp.inf], [np.log(0.5), np.log(0.5)]])
    np.testing.assert_allclose(losses.entropy(log_probs), [0.0, np.log(2.0)], rtol=1e-6)
    assert jnp.isfinite(jax.grad(lambda x: losses.entropy(x).sum())(log_probs)).all()


def test_shaping_points_at_reciprocity():
    """A probe with a known answer: the opponent's reward at t = 1 is the learner's action at t = 1.

    The learner profits (A_0 > 0) whenever the opponent chooses 1 at t = 0; raising pihat_0(1) asks for a higher
    return after that choice, so the shaping gradient raises the learner's action 1 there and lowers it elsewhere.
    """
    rng = np.random.default_rng(0)
    batch = 4096
    first, gift = rng.integers(0, 2, batch), rng.integers(0, 2, batch)
    zero = np.zeros(batch)
    experience = Experience(
        jnp.asarray([zero, gift], jnp.int32),
        jnp.asarray([2.0 * first - 1, zero], jnp.float32),
        jnp.asarray([first, zero], jnp.int32),
        jnp.asarray([zero, gift], jnp.float32),
    )
    constant = Heads(jnp.log(jnp.full((3, batch, 2), 0.5)), jnp.full((3, batch, 2), 0.5))

    def shaping(logit):
        """logit [2]: preference for the gift after the opponent's 0 and 1."""
        second = jnp.stack([jnp.zeros(batch), logit[first]], axis=-1)
        logits = jnp.zeros((3, batch, 2)).at[1].set(second)
        learner = Heads(jax.nn.log_softmax(logits), jnp.zeros((3, batch, 2)))
        return losses.actor_losses(Objective(), learner, constant, experience).opponent

    after_zero, after_one = -jax.grad(shaping)(jnp.zeros(2))
    assert after_one > 0.005 and after_zero < -0.005


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "loaded"}, "loaded-dice"),
        ({"advantage": "GAE"}, "TD0"),
        ({"method": "n_step", "n_step": 1}, "at least 2"),
        ({"op_softmax_temp": 0.0}, "above 0"),
    ],
)
def test_impossible_objectives_are_refused(wrong, words):
    with pytest.raises(UserError, match=words):
        Objective(**wrong)
