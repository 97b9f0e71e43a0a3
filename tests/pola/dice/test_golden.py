"""Values recorded from the published implementation; tolerances are those of the acceptance list."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pola.dice import estimators, learner, networks, opponent_model, scripted
from pola.dice.coin_game import CELLS, CoinGame, CoinState, PlacementNoise, place_coin, position
from pola.dice.config import parse
from pola.dice.contribution_game import ContributionGame
from pola.dice.evaluation import _totals
from pola.dice.learner import Networks
from pola.dice.rollout import Trajectory
from pola.dice.training import make_game

BOTH = ((1, 2), (2, 1))


def _config(recorded):
    """The configuration of the recorded command line."""
    return parse(str(recorded["argv"]).split())


def _trajectory(recorded, place, me, env):
    """The recorded rollout below `place` as agent `me` sees it."""
    other = 3 - me
    return Trajectory(
        env.codes(jnp.asarray(recorded[f"{place}/obs"], jnp.float32)),
        recorded[f"{place}/a{me}"].astype(np.int32),
        recorded[f"{place}/a{other}"].astype(np.int32),
        recorded[f"{place}/r{me}"],
        recorded[f"{place}/r{other}"],
    )


# --- estimators -----------------------------------------------------------------------------------


def _objective(recorded):
    gamma, loaded = float(recorded["gamma"]), not bool(recorded["no_baseline"])
    rewards, values, end = recorded["rewards"], recorded["values"], recorded["end_state_v"]
    if bool(recorded["zero_vals"]):
        values, end = np.zeros_like(values), np.zeros_like(end)
    advantages = estimators.advantages(rewards, values, end, gamma, float(recorded["gae_lambda"]))
    weights = advantages if loaded else rewards

    def loss(own, other):
        return -estimators.dice_objective(own, other, jnp.asarray(weights), gamma, loaded)

    return advantages, loss


@pytest.mark.golden("est_*.npz")
def test_estimators(recorded, distance):
    own, other = recorded["self_logprobs"], recorded["other_logprobs"]
    advantages, loss = _objective(recorded)
    if "gae" in recorded:
        assert distance(advantages, recorded["gae"]) < 1e-5
    assert abs(loss(own, other) - recorded["dice_loss"]) < 1e-5
    to_own, to_other = jax.jit(jax.grad(loss, (0, 1)))(own, other)
    assert distance(to_own, recorded["d_self"]) < 1e-5
    assert distance(to_other, recorded["d_other"]) < 1e-5
    mixed = jax.jit(jax.jacfwd(jax.grad(loss, 0), 1))(own, other)
    assert distance(mixed, recorded["d2_self_other"]) < 1e-5


@pytest.mark.golden("est_*.npz")
def test_value_loss_and_divergence(recorded, distance):
    rewards, gamma = recorded["rewards"], float(recorded["gamma"])

    def loss(values, end):
        return estimators.value_loss(rewards, values, end, gamma)

    value, (to_values, to_end) = jax.value_and_grad(loss, (0, 1))(recorded["values"], recorded["end_state_v"])
    assert value == pytest.approx(float(recorded["value_loss"]), rel=1e-5)
    assert distance(to_values, recorded["d_value_loss_d_values"]) < 1e-5
    assert not np.any(to_end) and not np.any(recorded["d_value_loss_d_end"])
    held, now = jnp.log(recorded["kl_target"]), jnp.log(recorded["kl_curr"])
    assert estimators.policy_divergence(held, now) == pytest.approx(float(recorded["kl_fwd"]), rel=1e-5)
    assert estimators.policy_divergence(held, now, True) == pytest.approx(float(recorded["kl_rev"]), rel=1e-5)


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.golden("rnn_*.npz")
def test_network(recorded):
    params, inputs = recorded.tree("params"), jnp.asarray(recorded["x"])
    states = networks.hidden_states(params, inputs)
    np.testing.assert_allclose(states, recorded["h"], atol=1e-5)
    np.testing.assert_allclose(networks.readout(params, states), recorded["y"], atol=1e-5)
    layers = sum(name in params for name in ("linear1", "linear2"))
    net = networks.RecurrentNet(recorded["h"].shape[-1], layers, recorded["y"].shape[-1])
    state = jnp.zeros_like(recorded["h"][0])
    for step, wanted in zip(inputs, recorded["y"], strict=True):
        state, output = net.apply({"params": params}, step, state)
        np.testing.assert_allclose(output, wanted, atol=1e-5)


# --- Coin Game ------------------------------------------------------------------------------------


def _states(recorded):
    names = ("red_pos", "blue_pos", "coin_pos", "is_red_coin")
    return CoinState(*(jnp.asarray(recorded[name]) for name in names))


def placement_noise(key):
    """One coin's draw from one key, in the original's order of splits."""
    draw_key = jax.random.split(key, 3)[2]
    return PlacementNoise(jax.random.randint(draw_key, (), 0, 7), jax.random.randint(draw_key, (), 0, 8))


def reset_one(key):
    """One game's start from one key, in the original's order of splits: the colour from the coin's key (Q6)."""
    _, red_key, blue_key, coin_key = jax.random.split(key, 4)
    red, blue = (position(jax.random.randint(each, (), 0, CELLS)) for each in (red_key, blue_key))
    colour = jax.random.randint(coin_key, (), 0, 2)
    return CoinState(red, blue, place_coin(placement_noise(coin_key), red, blue), colour)


def _replayed(env, recorded, states, partitionable):
    """What one of the two random streams of JAX gives for the recorded keys and actions: start and steps."""
    before = jax.tree.map(lambda path: path[:-1], states)
    first, second = (jnp.asarray(recorded["actions"][..., player], jnp.int32) for player in (0, 1))
    with jax.threefry_partitionable(partitionable):
        noise = jax.jit(jax.vmap(jax.vmap(placement_noise)))(jnp.asarray(recorded["step_keys"]))
        start = jax.jit(jax.vmap(reset_one))(jnp.asarray(recorded["reset_keys"]))
    return start, jax.jit(env.step)(before, noise, first, second)


@pytest.mark.golden("coin_trace_*.npz")
def test_coin_trace(recorded, case):
    env, states = CoinGame(), _states(recorded)
    names = {"partitionable": (True,), "original": (False,)}
    streams = next((flags for name, flags in names.items() if name in case.name), (True, False))
    replays = [_replayed(env, recorded, states, flag) for flag in streams]
    for start, (found, red, blue, picked) in replays:
        np.testing.assert_array_equal(env.observe(states), recorded["obs"])
        np.testing.assert_array_equal(red, recorded["r_red"])
        np.testing.assert_array_equal(blue, recorded["r_blue"])
        for name, count in picked._asdict().items():
            np.testing.assert_array_equal(count, recorded[name])
        for mine, wanted in zip(found, states, strict=True):
            if mine is not found.coin:  # the one thing that the stream decides
                np.testing.assert_array_equal(mine, wanted[1:])
        fitting = all(np.array_equal(mine, wanted[1:]) for mine, wanted in zip(found, states, strict=True))
        if fitting and all(
            np.array_equal(mine, wanted[0]) for mine, wanted in zip(start, states, strict=True)
        ):
            return
    pytest.fail("no stream of JAX places the coins as recorded")


@pytest.mark.golden("coin_moves*.npz")
def test_scripted_moves(recorded):
    place, coin, red_coin = (jnp.asarray(recorded[name]) for name in ("agent_pos", "coin_pos", "is_red_coin"))
    elsewhere = (place + 1) % 3
    for seat, colour in ((0, "red"), (1, "blue")):
        players = (place, elsewhere) if seat == 0 else (elsewhere, place)
        state = CoinState(*players, coin, red_coin)
        wanted = {scripted.DEFECT: recorded["toward" if seat == 0 else "toward_blue"]}
        wanted[scripted.COOPERATE] = recorded[f"coop_{colour}"]
        for kind, moves in wanted.items():
            kinds = jnp.full(len(place), kind)
            for mood in (False, True):
                found = scripted.coin_moves(state, kinds, seat, jnp.full(len(place), mood))
                np.testing.assert_array_equal(found, moves)
        for mood, kind in ((True, scripted.COOPERATE), (False, scripted.DEFECT)):
            kinds = jnp.full(len(place), scripted.TIT_FOR_TAT)
            found = scripted.coin_moves(state, kinds, seat, jnp.full(len(place), mood))
            np.testing.assert_array_equal(found, wanted[kind])


_NAMES = {"alld": scripted.DEFECT, "coop": scripted.COOPERATE, "tft": scripted.TIT_FOR_TAT}


@pytest.mark.golden("coin_scripted_scores*.json")
def test_scripted_scores(case):
    recorded, batch = json.loads(case.read_text()), 8000
    env, steps = CoinGame(), recorded["length"]

    @jax.jit
    def play(red, blue, key):
        scripts = [scripted.Script(jnp.full(batch, kind), seat) for seat, kind in enumerate((red, blue))]

        def act(state, moods, rewards, key):
            random = jax.random.randint(key, (2, batch), 0, 4)
            moves = [
                script.step(env, state, mood, reward)
                for script, mood, reward in zip(scripts, moods, rewards, strict=True)
            ]
            chosen = [
                jnp.where(kind < 0, free, move)
                for kind, free, (_, move) in zip((red, blue), random, moves, strict=True)
            ]
            return tuple(mood for mood, _ in moves), *chosen

        totals = _totals(env, key, steps, batch, tuple(script.start() for script in scripts), act)
        return jax.tree.map(lambda total: jnp.mean(total.astype(jnp.float32)), totals)

    for number, row in enumerate(recorded["rows"]):
        kinds = [_NAMES.get(row[colour], -1) for colour in ("red", "blue")]
        assert all(
            kind >= 0 or "rand" in row[colour] for kind, colour in zip(kinds, ("red", "blue"), strict=True)
        )
        red, blue, picked = play(*kinds, jax.random.PRNGKey(number))
        assert red / steps == pytest.approx(row["red_score"][0], abs=0.005)
        assert blue / steps == pytest.approx(row["blue_score"][0], abs=0.005)
        for name, count in zip(("rr", "rb", "br", "bb"), picked, strict=True):
            assert count == pytest.approx(row[name], abs=0.25), (row["red"], row["blue"], name)


# --- one outer step -------------------------------------------------------------------------------


def _rollouts(recorded, place, me, env, steps):
    """`play` that hands out the recorded rollouts: 0 ... K - 1 inner, K outer."""
    names = [f"{place}/inner{number}" for number in range(steps)] + [f"{place}/outer"]
    paths = [_trajectory(recorded, name, me, env) for name in names]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *paths)
    return lambda number, mine, theirs: jax.tree.map(lambda leaf: leaf[number], stacked)


@pytest.mark.golden("step_*.npz")
@pytest.mark.parametrize(("me", "other"), BOTH)
def test_inner_chain(recorded, distance, me, other):
    config = _config(recorded)
    env, place = make_game(config), f"a{me}"
    mine, start = recorded.tree(f"th{me}"), Networks(recorded.tree(f"th{other}"), recorded.tree(f"v{other}"))
    play = _rollouts(recorded, place, me, env, config.inner_steps)

    @jax.jit
    def step(now, number):
        path = play(number, None, None).swapped()
        held = learner.policy_logprobs(env, start.policy, path.codes[:-1]) if config.inner_beta else None
        return learner.inner_step(config, env, mine, now, path, held, learn=True)

    now = start
    for number in range(config.inner_steps):
        now, loss = step(now, number)
        assert loss == pytest.approx(float(recorded[f"{place}/inner{number}/loss"]), rel=1e-4)
        assert distance(now.policy, recorded.tree(f"{place}/inner{number}/th_after")) < 1e-5
        if not config.no_baseline:
            assert distance(now.value, recorded.tree(f"{place}/inner{number}/v_after")) < 1e-5
    anticipated = jax.jit(lambda policy: learner.anticipate(config, env, policy, start, play))(mine)
    shift, wanted = (
        jax.tree.map(jnp.subtract, end, start.policy)
        for end in (anticipated, recorded.tree(f"{place}/inner_th"))
    )
    assert distance(shift, wanted) < 1e-4


@pytest.mark.golden("step_*.npz")
@pytest.mark.parametrize(("me", "other"), BOTH)
def test_outer_step(recorded, distance, me, other):
    config = _config(recorded)
    env, place = make_game(config), f"a{me}"
    mine, theirs = (Networks(recorded.tree(f"th{who}"), recorded.tree(f"v{who}")) for who in (me, other))
    play = _rollouts(recorded, place, me, env, config.inner_steps)
    reference = recorded.tree(f"{place}/ref")
    gradients, loss, _ = jax.jit(
        lambda mine, theirs: learner.outer_gradient(config, env, mine, theirs, reference, play)
    )(mine, theirs)
    assert loss == pytest.approx(float(recorded[f"{place}/outer_loss"]), rel=1e-4)
    wanted = recorded.tree(f"{place}/grad_th"), recorded.tree(f"{place}/grad_v")
    assert distance(gradients.policy, wanted[0]) < 1e-4
    if not config.no_baseline:
        assert distance(gradients.value, wanted[1]) < 1e-4
    rules = learner.optimisers(config)
    states = Networks(*(rule.init(part) for rule, part in zip(rules, mine, strict=True)))
    after, _ = learner.descend(rules, mine, gradients, states)
    names = ("th_after_outer1",) if config.no_baseline else ("th_after_outer1", "v_after_outer1")
    for found, slope, name in zip(after, wanted, names, strict=False):
        pairs = zip(*map(jax.tree.leaves, (found, recorded.tree(f"{place}/{name}"), slope)), strict=True)
        for end, recorded_end, steepness in pairs:
            clear = np.abs(steepness) > 1e-6  # Adam's first step is the sign of the gradient
            np.testing.assert_allclose(np.asarray(end)[clear], recorded_end[clear], rtol=1e-4, atol=1e-6)


@pytest.mark.golden("om_*.npz")
@pytest.mark.parametrize(("me", "other"), BOTH)
def test_opponent_model(recorded, distance, me, other):
    config = _config(recorded)
    # the recordings come from a program that trained its models with the agents' own rates
    config = dataclasses.replace(config, om_lr_p=config.lr_out, om_lr_v=config.lr_v)
    env, place = make_game(config), f"a{me}"
    model = Networks(recorded.tree(f"{place}/model_th"), recorded.tree(f"{place}/model_v"))
    rules = opponent_model.model_optimisers(config)
    states = Networks(*(rule.init(part) for rule, part in zip(rules, model, strict=True)))
    slopes = jax.jit(lambda model, path: opponent_model.model_gradients(config, env, model, path))
    for batch in range(config.opp_model_data_batches):
        path = _trajectory(recorded, f"{place}/batch{batch}", me, env)
        for step in range(config.opp_model_steps_per_batch):
            here = f"{place}/batch{batch}/step{step}"
            gradients, losses, end = slopes(model, path)
            model, states = learner.descend(rules, model, gradients, states)
            assert losses.cross_entropy == pytest.approx(float(recorded[f"{here}/ce"]), rel=1e-4)
            assert losses.value_loss == pytest.approx(float(recorded[f"{here}/value_loss"]), rel=1e-4)
            assert distance(end, recorded[f"{here}/end_value"]) < 1e-4
            assert distance(model.policy, recorded.tree(f"{here}/th_after")) < 1e-4
            assert distance(model.value, recorded.tree(f"{here}/v_after")) < 1e-4


@pytest.mark.golden("step_ipd*.npz")
def test_recorded_rewards_of_the_contribution_game(recorded):
    env = ContributionGame(_config(recorded).contrib_factor)
    for me in (1, 2):
        first, second = (jnp.asarray(recorded[f"a{me}/outer/a{player}"], jnp.int32) for player in (1, 2))
        after, one, two, _ = env.step(None, None, first, second)
        np.testing.assert_allclose(one, recorded[f"a{me}/outer/r1"], atol=1e-6)
        np.testing.assert_allclose(two, recorded[f"a{me}/outer/r2"], atol=1e-6)
        np.testing.assert_array_equal(env.observe(after), recorded[f"a{me}/outer/obs"][1:])


def test_draws_of_a_new_coin_reach_every_free_cell():
    """The recorded traces fix the order of the draws; this fixes their range."""
    draws = jnp.arange(7), jnp.arange(7)
    corner, centre = jnp.zeros((7, 2), jnp.int32), jnp.ones((7, 2), jnp.int32)
    from pola.dice.coin_game import cell, place_coin

    apart = cell(place_coin(PlacementNoise(*draws), corner, centre))
    assert sorted(np.asarray(apart)) == [1, 2, 3, 5, 6, 7, 8]
    together = cell(place_coin(PlacementNoise(draws[0], jnp.arange(1, 8)), centre, centre))
    assert sorted(np.asarray(together)) == [1, 2, 3, 5, 6, 7, 8]
