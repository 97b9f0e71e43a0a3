"""Pictures: positions read back from world states, colours where things are, the GIF."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from marlhf.environments import make_task, render

TASKS = {
    "spread": {},
    "reference": {},
    "tag": {"prey": "random"},
}


def colour(text):
    return tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))


def pixels_of(picture, text):
    """How many pixels have exactly this colour."""
    return int((picture == colour(text)).all(axis=-1).sum())


@pytest.fixture(scope="module", params=TASKS)
def episode(request):
    """A task, its particles' positions and its world states over six steps."""
    task = make_task(request.param, **TASKS[request.param])

    @jax.jit
    def play(key):
        def step(state, key):
            actions = jax.random.randint(key, (task.n_agents,), 0, task.n_actions)
            after, _, _ = task.transition(key, state, actions)
            return after, (state, task.observe(state)[1])

        return jax.lax.scan(step, task.reset(key), jax.random.split(key, 6))[1]

    states, world_state = play(jax.random.key(2))
    inner = states.world if task.name == "tag" else states
    return task, inner, np.asarray(world_state)


def test_positions_are_read_back(episode):
    task, states, world_state = episode
    shown, n = render.scene(task, world_state), task.n_agents
    positions = np.asarray(states.p_pos)
    if task.name == "reference":  # up to the landmarks' centre
        positions = positions - positions[:, n:].mean(axis=1, keepdims=True)
    landmarks = positions[:, 4:] if task.name == "tag" else positions[:, n:]
    np.testing.assert_allclose(shown.agents, positions[:, :n], atol=1e-5)
    np.testing.assert_allclose(shown.landmarks, landmarks, atol=1e-5)
    if task.name == "tag":
        np.testing.assert_allclose(shown.prey, positions[:, 3], atol=1e-5)
    if task.name == "reference":
        np.testing.assert_array_equal(shown.goals, states.goal)
        np.testing.assert_array_equal(shown.says[1:], np.argmax(states.c[1:], axis=-1))
        assert (shown.says[0] == -1).all()


def test_everybody_is_in_the_picture(episode):
    task, _, world_state = episode
    frames = render.pictures(task, world_state, size=200)
    assert frames.shape == (6, 200 + render.HEADER, 200, 3) and frames.dtype == np.uint8
    expected = [render.AGENTS[1]] if task.name == "tag" else render.AGENTS[: task.n_agents]
    others = {"tag": [render.PREY, render.OBSTACLE], "reference": render.LANDMARKS, "spread": [render.INK]}
    for text in (*expected, *others[task.name]):
        assert pixels_of(frames[0], text) > 2, text  # the prey is small
    assert (frames[0] != frames[5]).any()


def test_a_covered_landmark_and_a_bump_are_marked():
    task = make_task("spread")
    state = task.reset(jax.random.key(0))
    apart = jnp.array([[-0.8, -0.8], [0.8, 0.8], [0.8, -0.8], [-0.8, 0.8], [0.0, 0.0], [0.0, 0.8]])
    places = [apart, apart.at[3].set(apart[0] + 0.1), apart.at[1].set(apart[2] + jnp.array([0.0, 0.2]))]
    world = np.stack([task.observe(state.replace(p_pos=place))[1] for place in places])
    plain, covered, bump = render.pictures(task, world, captions=[""] * 3)
    assert pixels_of(plain, render.COVERED) == 0 < pixels_of(covered, render.COVERED)
    dark = [int((picture < 60).all(axis=-1).sum()) for picture in (plain, bump)]
    assert dark[1] > dark[0] + 100  # the outline of two agents


def test_a_kitchen():
    task = make_task("overcooked")
    state = task.reset(jax.random.key(0))
    grid = np.asarray(task.observe(state)[1])
    [frame] = render.pictures(task, grid[None], size=250)
    assert frame.shape == (200 + render.HEADER, 250, 3)
    for text in (*render.AGENTS[:2], *(fill for _, fill in render._TILES)):
        assert pixels_of(frame, text) > 50, text
    holding = grid.copy().reshape(2, 4, 5, 26)
    holding[0, 1, 1, 23] = 1  # cook A, at row 1 and column 1, holds an onion
    [other] = render.pictures(task, holding.reshape(1, -1), size=250)
    changed = np.argwhere((frame != other).any(axis=-1))
    top, left = changed.min(axis=0) - [render.HEADER, 0]
    bottom, right = changed.max(axis=0) - [render.HEADER, 0]
    assert top >= 50 and bottom < 100 and left >= 50 and right < 100
