"""Cleanup's rules by hand, whole episodes of every variant, and what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from iqflow.env import scripted
from iqflow.env.cleanup import drawing, maps, rules
from iqflow.env.cleanup.environment import CentralisedCleanup, Cleanup, SpawnDraws, StepDraws, from_config

KEY = jax.random.PRNGKey(0)
LARGE = {
    "rows": maps.MAPS["cleanup_10x10_sym"],
    "view_size": 7,
    "apple_respawn_probability": 0.3,
    "threshold_depletion": 0.4,
}
LEFT, RIGHT, UP, DOWN, STAY, CLEAN = range(6)  # exposed actions of the paper's configurations


def quiet(env):
    """Draws that let nothing grow: probabilities are at most 1 and these are not below."""
    layout = env.layout
    nothing = SpawnDraws(
        jnp.ones(len(layout.apple_cells)),
        jnp.ones(len(layout.waste_cells)),
        jnp.ones(len(layout.waste_cells)),
    )
    return StepDraws(jnp.arange(env.n_agents, dtype=jnp.float32), nothing)


def at(env, *position, orientation=None, **changes):
    """A state with agents at these positions."""
    facing = jnp.zeros(env.n_agents, jnp.int32) if orientation is None else jnp.array(orientation)
    return env.start(jnp.array(position), facing, quiet(env).spawn)._replace(**changes)


def beam_cells(state):
    return (np.argwhere(np.asarray(state.beam)) + 1).tolist()


def test_first_positions():
    envs = Cleanup(), Cleanup(rows=maps.MAPS["cleanup_other"]), Cleanup(**LARGE, n_agents=4)
    positions = jax.jit(lambda key: [env.reset(key)[0].position for env in envs])(KEY)
    assert positions[0].tolist() == [[5, 2], [1, 4]]
    assert positions[1].tolist() == [[4, 4], [3, 4]]
    # the fourth agent finds no spawn point left
    assert positions[2].tolist() == [[8, 3], [5, 4], [1, 6], [8, 6]]


SIDES = [[1, 3], [2, 1], [2, 3], [3, 1], [3, 3], [4, 1], [4, 3]]


@pytest.mark.parametrize(("width", "beside", "cleaned"), [(3, SIDES, 1), (1, [], 0)])
def test_a_beam_stops_at_waste_agents_and_walls(width, beside, cleaned):
    env = Cleanup(beam_width=width)
    after, rewards, info = env.interact(at(env, (4, 2), (3, 2)), jnp.array([CLEAN, STAY]))
    assert beam_cells(after) == sorted([*beside, [3, 2]])  # the second agent stands in the centre line
    assert np.asarray(info.n_cleaned).tolist() == [cleaned, 0]
    assert np.asarray(after.waste).tolist() == [True, not cleaned]
    assert np.asarray(rewards).tolist() == [0, 0]


def test_a_later_beam_sees_what_an_earlier_one_cleaned():
    env = Cleanup()
    after, _, info = env.interact(at(env, (4, 2), (5, 2)), jnp.array([CLEAN, CLEAN]))
    assert np.asarray(info.n_cleaned).tolist() == [1, 1] and not after.waste.any()


def test_a_turned_agent_cleans_where_it_looks():
    env = Cleanup(disable_rotation_action=False)
    turn = env.actions.index(rules.TURN_LEFT)
    state, *_ = env.play(quiet(env), at(env, (2, 4), (5, 4)), jnp.array([turn, STAY]))
    assert np.asarray(state.orientation).tolist() == [rules.LEFT, rules.UP]
    after, _, info = env.interact(state, jnp.array([env.clean_action, STAY]))
    # centre line (2, 3) to the waste (2, 1); beside it rows 1 and 3 from the agent's own column on
    expected = [[1, c] for c in (1, 2, 3, 4)] + [[2, c] for c in (1, 2, 3)] + [[3, c] for c in (1, 2, 3, 4)]
    assert sorted(beam_cells(after)) == expected
    assert np.asarray(info.n_cleaned).tolist() == [2, 0]


def test_eating_pays_one_and_cleaning_costs_its_penalty():
    env = Cleanup(cleaning_penalty=0.25)
    state = at(env, (3, 2), (3, 4), apples=jnp.ones(5, bool))
    state, rewards, done, _ = env.play(quiet(env), state, jnp.array([CLEAN, RIGHT]))
    assert np.asarray(rewards).tolist() == [-0.25, 1.0] and not done
    assert np.asarray(state.apples).tolist() == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("dirty", "apple", "waste"), [(2, 0, 0), (1, (1 - 0.5 / 0.6) * 0.5, 0.5), (0, 0.5, 0.5)]
)
def test_probabilities(dirty, apple, waste):
    env = Cleanup()
    state = at(env, (3, 2), (3, 4), waste=jnp.arange(2) < dirty)
    np.testing.assert_allclose(env.spawn_probabilities(state), [apple, waste], rtol=1e-6)


def test_new_waste_falls_on_every_clean_cell_equally_often():
    env = Cleanup(**LARGE)
    state = at(env, (3, 4), (4, 4), waste=jnp.arange(16) < 4)
    keys = jax.random.split(KEY, 6000)
    after = jax.jit(jax.vmap(lambda key: env.spawn(state, env.draw(key).spawn).waste))(keys)
    counts = np.asarray(after).sum(0)
    assert np.all(counts[:4] == 6000) and np.all(np.asarray(after).sum(1) <= 5)
    assert np.all(
        np.abs(counts[4:] / 6000 - 1 / 12) < 0.02
    )  # with p = 0.5 it fails on all twelve once in 4096


VARIANTS = {
    "three": Cleanup(**LARGE, n_agents=3, max_steps=30),
    "nine": Cleanup(n_agents=9, disable_rotation_action=False, random_orientation=True, shuffle_spawn=True),
    "no sideways": Cleanup(disable_left_right_action=True, disable_rotation_action=False, beam_width=5),
    "few actions": Cleanup(rows=maps.MAPS["cleanup_other"], disable_left_right_action=True, beam_width=1),
    "one": Cleanup(n_agents=1, global_ref_point=(3, 3), view_size=3, cleaning_penalty=0.5),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_random_episodes_keep_the_rules(name):
    env, games = VARIANTS[name], 32
    layout = env.layout

    @jax.jit
    @jax.vmap
    def episode(key):
        first, seen = env.reset(key)

        def one(state, key):
            actions = jax.random.randint(jax.random.fold_in(key, 0), (env.n_agents,), 0, env.n_actions)
            after, seen, rewards, done, info = env.step(key, state, actions)
            return after, (after, seen, rewards, done, info.n_cleaned)

        _, rows = jax.lax.scan(one, first, jax.random.split(key, env.max_steps))
        return first, seen, rows

    first, seen, (states, pictures, rewards, done, cleaned) = jax.tree.map(
        np.asarray, episode(jax.random.split(KEY, games))
    )
    assert seen.shape[1:] == (env.n_agents, *env.observation_shape) and pictures.dtype == np.float32
    assert pictures.min() >= 0 and pictures.max() <= 255 / 256
    np.testing.assert_array_equal(
        done, np.arange(1, env.max_steps + 1)[None].repeat(games, 0) == env.max_steps
    )
    steps = np.concatenate([first.position[:, None], states.position], axis=1).astype(int)
    assert np.all(layout.base[steps[..., 0], steps[..., 1]] != maps.WALL)
    assert np.abs(np.diff(steps, axis=1)).sum(-1).max() <= 1
    if env.n_agents < 4:
        cells = steps @ [layout.width, 1]
        assert all(len(set(row)) == env.n_agents for row in cells.reshape(-1, env.n_agents).tolist())
    dirty = np.concatenate([first.waste[:, None], states.waste], axis=1).sum(-1)
    new = np.diff(dirty, axis=1) + cleaned.sum(-1)
    assert set(np.unique(new)) <= {0, 1} and cleaned.max() <= (1 if env.beam_width == 1 else 3)
    assert rewards.max() <= 1 and rewards.min() >= -env.cleaning_penalty


def test_a_state_is_small_and_brings_its_pictures_back():
    for env, most in ((Cleanup(), 46), (Cleanup(**LARGE), 110)):
        state, _ = env.reset(KEY)
        assert sum(leaf.nbytes for leaf in state) <= most
        after, seen, *_ = env.step(KEY, state, jnp.array([CLEAN, LEFT]))
        np.testing.assert_array_equal(env.observe(after), seen)


def test_agents_see_themselves_in_the_middle_in_their_own_colour():
    seen = np.asarray(Cleanup().reset(KEY)[1]) * 256
    for agent in range(2):
        np.testing.assert_array_equal(seen[agent, 4, 4], drawing.COLOURS[drawing.FIRST_AGENT + agent])


def test_the_centralised_variant_is_the_game_with_one_player():
    base = Cleanup(n_agents=3)
    env = CentralisedCleanup(base)
    assert (env.n_actions, env.n_agents, env.max_steps) == (216, 1, 50)
    step, step_base = jax.jit(env.step), jax.jit(base.step)
    state, seen = jax.jit(env.reset)(KEY)
    assert seen.shape == (1, 9, 9, 3)
    for own in ((5, 1, 0), (0, 5, 5)):
        joint = own[0] + 6 * own[1] + 36 * own[2]
        assert np.asarray(env.split(jnp.array([joint]))).tolist() == list(own)
        after, seen, rewards, _, info = step(KEY, state, jnp.array([joint]))
        each, apart, several, _, told = step_base(KEY, state, jnp.array(own))
        np.testing.assert_array_equal(seen, apart[:1])
        np.testing.assert_array_equal(rewards, [several.sum()])
        np.testing.assert_array_equal(info.n_cleaned, [told.n_cleaned.sum()])
        jax.tree.map(np.testing.assert_array_equal, after, each)
        state = after


# --- the game's scale (spec 8.2, acceptance 4) -----------------------------------------------------------------------


def totals(env, teams, episodes=400):
    """Total reward of every team's episodes [teams, episodes]; all teams are one program."""
    names = sorted({name for team in teams for name in team})

    def episode(team, key):
        state, _ = env.reset(key)

        def one(state, key):
            act_key, draw_key = jax.random.split(key)
            keys = jax.random.split(act_key, len(team))
            choices = [
                jnp.stack([scripted.RULES[name](env, state, agent, own_key) for name in names])[team[agent]]
                for agent, own_key in enumerate(keys)
            ]
            state, rewards, *_ = env.play(env.draw(draw_key), state, jnp.stack(choices))
            return state, rewards.sum()

        return jax.lax.scan(one, state, jax.random.split(key, env.max_steps))[1].sum()

    numbers = jnp.array([[names.index(name) for name in team] for team in teams])
    each = jax.vmap(jax.vmap(episode, in_axes=(None, 0)), in_axes=(0, None))
    return np.asarray(jax.jit(each)(numbers, jax.random.split(KEY, episodes)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {},
            {
                ("random", "random"): (1.33, 0.35),
                ("cleaner", "harvester"): (39.3, 0.8),
                ("harvester", "harvester"): (0, 0),
            },
        ),
        (LARGE, {("random", "random"): (0.42, 0.25), ("cleaner", "harvester"): (15.4, 1.0)}),
    ],
    ids=["7x7", "10x10"],
)
def test_scale(settings, expected):
    found = totals(Cleanup(**settings), list(expected)).mean(1)
    for mean, (wanted, tolerance) in zip(found, expected.values(), strict=True):
        assert abs(mean - wanted) <= tolerance


@pytest.mark.parametrize(("probe", "column", "action"), [
    ("A2", 3, LEFT), ("A2", 2, CLEAN), ("A2", 1, CLEAN), ("A3", 4, LEFT), ("A3", 3, CLEAN), ("A3", 1, RIGHT), ("A1", 3, LEFT),
])  # fmt: skip
def test_probes(probe, column, action):
    env = Cleanup()
    state = at(env, (3, column), (4, 4))
    assert int(scripted.PROBES[probe](env, state, 0, KEY)) == action


def test_the_wanderer_goes_up_and_down_at_the_river():
    env = Cleanup()
    walk = jax.vmap(lambda key: scripted.wanderer(env, at(env, (3, 1), (4, 4)), 0, key))
    assert abs(np.asarray(walk(jax.random.split(KEY, 400)) == UP).mean() - 0.5) < 0.1
    assert set(np.asarray(walk(jax.random.split(KEY, 400))).tolist()) == {UP, DOWN}


def test_scripted_agents_need_the_map_s_directions():
    env = Cleanup(disable_left_right_action=True)
    with pytest.raises(UserError, match="disable_left_right_action"):
        scripted.cleaner(env, at(env, (3, 3), (4, 4)), 0, KEY)


# --- bad input -------------------------------------------------------------------------------------------------------


def with_row(row):
    return ("@@@@@@@", row, *maps.MAPS["cleanup_small_sym"][2:])


@pytest.mark.parametrize(("rows", "named"), [
    (with_row("@H xPB@"), "'x' in row 1, column 3"),
    (with_row("@H PB@"), "one and the same length"),
    (with_row("@H  PB "), "open at its edge"),
    (("@@@@@", "@H B@", "@@@@@"), "no spawn point"),
    (("@@@@@", "@P B@", "@@@@@"), "no river"),
    ((), "no cells"),
])  # fmt: skip
def test_bad_maps(rows, named):
    with pytest.raises(UserError, match=named):
        Cleanup(rows=rows)


@pytest.mark.parametrize(("wrong", "named"), [
    ({"n_agents": 10}, "n_agents is 10"),
    ({"n_agents": 0}, "n_agents is 0"),
    ({"rows": ("@@@@@", "@HPB@", "@@@@@"), "n_agents": 2}, "2 agents do not fit: the map has 1 cells"),
    ({"beam_width": 2}, "beam_width is 2; it has to be odd"),
    ({"max_steps": 0}, "max_steps is 0"),
    ({"cleaning_penalty": float("nan")}, "cleaning_penalty is nan"),
    ({"apple_respawn_probability": 1.5}, "it has to be 0 to 1"),
    ({"threshold_restoration": 0.7}, "lies above threshold_depletion"),
    ({"global_ref_point": (7, 0)}, "outside the map of 7 by 7"),
])  # fmt: skip
def test_bad_settings(wrong, named):
    with pytest.raises(UserError, match=named):
        Cleanup(**wrong)


@pytest.mark.golden("cleanup_7x7_mixed*.npz")
def test_configurations(recorded):
    section = json.loads(str(recorded["config"]))
    assert from_config(section) == Cleanup()
    with pytest.raises(UserError, match="obs_height is 11; with view_size 4 it is 9"):
        from_config(section | {"obs_height": 11})
    with pytest.raises(UserError, match="lack beam_width"):
        from_config({key: value for key, value in section.items() if key != "beam_width"})
    with pytest.raises(UserError, match="unknown map 'cleanup'"):
        from_config(section | {"map_name": "cleanup"})
