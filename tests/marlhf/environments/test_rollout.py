"""The tasks by name and the batched manager."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cli import UserError
from marlhf.environments import RolloutManager, make_task


@pytest.fixture(scope="module")
def spread():
    return make_task("MPE_simple_spread_v3")


@pytest.fixture(scope="module")
def played(spread):
    """60 steps of uniform play in four environments, both ways of showing an episode's first observation."""
    found = {}
    actions = jax.random.randint(jax.random.key(3), (60, 3, 4), 0, 5)
    for zero in (True, False):
        manager = RolloutManager(spread, 4, zero_first_observations=zero)

        @jax.jit
        def play(key, manager=manager):
            view, state = manager.reset(key)

            def step(state, actions_and_key):
                actions, key = actions_and_key
                *seen, state = manager.step(key, state, actions)
                return state, seen

            return view, jax.lax.scan(step, state, (actions, jax.random.split(key, 60)))[1]

        found[zero] = play(jax.random.key(0))
    return found


def test_sizes_of_the_tasks():
    sizes = {}
    for name, told in (
        ("spread", {}),
        ("spread", {"num_agents": 5, "num_landmarks": 5}),
        ("spread", {"num_agents": 7}),
        ("reference", {}),
        ("tag", {"prey": "random"}),
        ("overcooked", {}),
    ):
        task = make_task(name, **told)
        shapes = jax.eval_shape(lambda key, task=task: task.observe(task.reset(key)), jax.random.key(0))
        assert shapes[0].shape == (task.n_agents, task.obs_size)
        assert shapes[1].shape == (task.state_size,)
        sizes[name, task.n_agents] = (task.obs_size, task.state_size, task.n_actions, task.episode_length)
    assert sizes == {
        ("spread", 3): (18, 54, 5, 26),
        ("spread", 5): (30, 150, 5, 26),
        ("spread", 7): (38, 266, 5, 26),
        ("reference", 2): (21, 42, 50, 26),
        ("tag", 3): (16, 48, 5, 26),
        ("overcooked", 2): (520, 1040, 6, 400),
    }


def test_episodes_end_after_26_steps_and_the_next_starts_with_zeros(played):
    _, (view, rewards, team, done, episode) = played[True]
    assert np.flatnonzero(done[:, 0]).tolist() == [25, 51] and (done == done[:, :1]).all()
    first = np.zeros(60, bool)
    first[[25, 51]] = True
    assert not view.obs[first].any()
    assert view.obs[~first].any(axis=-1).all()
    assert view.world_state.any(axis=-1).all()
    np.testing.assert_allclose(team, rewards.sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(episode.returns[51, 2], rewards[26:52, :, 2].sum(axis=0), rtol=1e-5)
    assert (episode.lengths[51] == 26).all() and episode.ended[51].all() and not episode.ended[50].any()


def test_first_observations_can_be_shown(played):
    hidden, shown = played[True][1][0], played[False][1][0]
    np.testing.assert_array_equal(shown.obs[25, ..., -3:], np.broadcast_to(np.eye(3)[:, None], (3, 4, 3)))
    np.testing.assert_array_equal(shown.obs[:25], hidden.obs[:25])
    joined = shown.obs[25, ..., :18].transpose(1, 0, 2).reshape(4, 54)
    np.testing.assert_array_equal(joined, shown.world_state[25])


@pytest.fixture(scope="module")
def both_orders(spread):
    """Rewards of one step, and of the same step with the agents renamed."""

    @jax.jit
    def rewards(seed, order):
        key = jax.random.PRNGKey(seed)
        state, actions = spread.reset(key), jax.random.randint(key, (3,), 0, 5)
        renamed = state.replace(p_pos=jnp.concatenate([state.p_pos[:3][order], state.p_pos[3:]]))
        return (
            spread.transition(key, state, actions)[1],
            spread.transition(key, renamed, actions[order])[1],
        )

    return rewards


@settings(max_examples=20)
@given(st.permutations(range(3)), st.integers(0, 2**31 - 1))
def test_renaming_agents_renames_their_rewards(both_orders, order, seed):
    rewards, of_renamed = both_orders(seed, jnp.asarray(order))
    np.testing.assert_allclose(of_renamed, rewards[jnp.asarray(order)], atol=1e-4)


def test_the_prey_is_no_learner():
    task = make_task("tag", prey="motionless")
    assert task.agents == ("adversary_0", "adversary_1", "adversary_2")
    state = task.reset(jax.random.key(0))
    still = state.world.p_pos[3]
    world = state.world.replace(p_pos=state.world.p_pos.at[:3].set(still + 0.05))
    after, rewards, _ = task.transition(jax.random.key(1), state._replace(world=world), jnp.zeros(3, int))
    np.testing.assert_array_equal(rewards, [30.0, 30.0, 30.0])  # 10 for each contact, to each adversary
    np.testing.assert_array_equal(after.world.p_pos[3], still)
    assert task.team_reward(rewards) == 90.0


def test_the_random_prey_moves_by_the_key():
    task = make_task("tag", prey="random")
    state = task.reset(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 64)
    after, _, _ = jax.vmap(task.transition, in_axes=(0, None, None))(keys, state, jnp.zeros(3, int))
    directions = {tuple(np.sign(v)) for v in np.round(after.world.p_vel[:, 3], 3)}
    assert len(directions) == 5


def test_cooks_share_one_reward():
    task = make_task("overcooked")
    assert task.return_divisor == 1 and make_task("spread").return_divisor == 3
    np.testing.assert_array_equal(task.team_reward(jnp.asarray([[20.0, 0.0], [20.0, 0.0]])), [20.0, 0.0])


@pytest.mark.parametrize(
    "name, told, line",
    [
        ("sprad", {}, "did you mean 'spread'"),
        ("reference", {"num_agents": 4}, "num_agents"),
        ("spread", {"prey": "random"}, "only Tag has a prey"),
        ("tag", {"layout": "coord_ring"}, "only Overcooked has layouts"),
        ("overcooked", {"layout": "kitchen"}, "cramped_room"),
        ("spread", {"num_agents": 0}, "1 to 20"),
        ("tag", {"prey": "nowhere.safetensors"}, "nowhere.safetensors"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(name, told, line):
    with pytest.raises(UserError, match=line) as said:
        make_task(name, **told)
    assert "\n" not in str(said.value)
