"""Cleanup's recorded traces, replayed with the recorded random draws (spec 8.1, acceptance 3)."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqflow.env.cleanup import maps
from iqflow.env.cleanup.environment import CleanupState, SpawnDraws, StepDraws, from_config

CODES = "".join((" ", "@", "A", "H", "R", "S"))


class Trace:
    """A recorded trace as this project's states and draws, one row a step."""

    def __init__(self, recorded):
        self.rows = recorded
        self.config = json.loads(str(recorded["config"]))
        self.base = tuple(str(row) for row in recorded["base_map"])
        self.env = from_config(self.config, self.base)
        assert "".join(str(letter) for letter in recorded["map_codes"]) == CODES
        self.resets = recorded["reset"].astype(bool)
        start = np.maximum.accumulate(np.where(self.resets, np.arange(len(self.resets)), 0))
        self.time = np.arange(len(self.resets)) - start  # steps played after each row

    def state(self, position, orientation, content, beam=None):
        layout = self.env.layout
        flat = content.reshape(len(content), -1)
        inner = (len(content), layout.height - 2, layout.width - 2)
        return CleanupState(
            apples=jnp.asarray(flat[:, layout.apple_cells] == maps.APPLE),
            waste=jnp.asarray(flat[:, layout.waste_cells] == maps.WASTE),
            position=jnp.asarray(position, jnp.uint8),
            orientation=jnp.asarray(orientation, jnp.uint8),
            beam=jnp.zeros(inner, bool) if beam is None else jnp.asarray(beam[:, 1:-1, 1:-1].astype(bool)),
            time=jnp.asarray(self.time, jnp.int32),
        )

    def spawn_draws(self):
        """Draws by cell. One that the original did not make is 0, which grows or soils wherever the rules do not forbid it."""
        order, uniform = self.rows["waste_order"].astype(int), np.nan_to_num(self.rows["waste_u"])
        rank, draw = np.zeros(order.shape), np.zeros(order.shape)
        for row in np.flatnonzero(order[:, 0] >= 0):
            rank[row, order[row]], draw[row, order[row]] = np.arange(order.shape[1]), uniform[row]
        apple = np.nan_to_num(self.rows["apple_u"])
        return SpawnDraws(*(jnp.asarray(part, jnp.float32) for part in (apple, rank, draw)))

    def priority(self):
        """The place of every agent in the recorded order of moving; those that did not ask come last."""
        order = self.rows["move_order"].astype(int)
        place = np.full(order.shape, 255.0)
        for row in range(len(order)):
            for rank, agent in enumerate(order[row]):
                if agent != 255:
                    place[row, agent] = rank
        return jnp.asarray(place, jnp.float32)

    def steps(self, tree):
        return jax.tree.map(lambda leaf: leaf[~self.resets], tree)

    def starts(self, tree):
        return jax.tree.map(lambda leaf: leaf[self.resets], tree)


@pytest.fixture
def trace(recorded):
    return Trace(recorded)


@pytest.mark.golden("cleanup_*.npz")
def test_recorded_cells_and_map(trace):
    layout, rows = trace.env.layout, trace.rows
    name = trace.config["map_name"]
    assert name not in maps.MAPS or maps.MAPS[name] == trace.base
    for cells, recorded in ((layout.apple_cells, "apple_cells"), (layout.waste_cells, "waste_cells")):
        np.testing.assert_array_equal(np.stack(np.divmod(cells, layout.width), -1), rows[recorded])


@pytest.mark.golden("cleanup_*.npz")
def test_recorded_steps(trace):
    env, rows, keep = trace.env, trace.rows, ~trace.resets
    before = trace.state(rows["pos"], rows["orient"], rows["map"])
    before = before._replace(time=before.time - 1)
    draws = StepDraws(trace.priority(), trace.spawn_draws())
    actions = jnp.asarray(np.where(rows["action"] == 255, 0, rows["action"]), jnp.int32)

    @jax.jit
    @jax.vmap
    def replay(draws, state, actions):
        moved = env.move(state, actions, draws.priority)
        acted, _, _ = env.interact(moved, actions)
        after, rewards, done, info = env.play(draws, state, actions)
        chances = env.spawn_probabilities(acted)
        return (
            moved,
            env.contents(acted),
            chances,
            after,
            rewards,
            done,
            info,
            env.contents(after),
            env.scene(after),
        )

    moved, acted, chances, after, rewards, done, info, content, scene = replay(
        *trace.steps((draws, before, actions))
    )
    expected = {name: values[keep] for name, values in rows.items() if values.shape[:1] == keep.shape}
    np.testing.assert_array_equal(moved.position, expected["pos_after_move"])
    np.testing.assert_array_equal(rewards, expected["reward"].astype(np.float32))
    np.testing.assert_array_equal(info.n_cleaned, expected["n_cleaned"])
    np.testing.assert_array_equal(acted, expected["map_before_spawn"])
    np.testing.assert_allclose(chances[0], expected["apple_prob"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(chances[1], expected["waste_prob"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(content, expected["next_map"])
    np.testing.assert_array_equal(after.position, expected["next_pos"])
    np.testing.assert_array_equal(after.orientation, expected["next_orient"])
    np.testing.assert_array_equal(np.pad(after.beam, ((0, 0), (1, 1), (1, 1))), expected["beam"])
    np.testing.assert_array_equal(done, expected["done"])
    codes = [str(code) for code in rows["render_codes"]]
    order = [*CODES, "C", *(str(agent + 1) for agent in range(9))]
    drawn = np.array([order.index(code) for code in codes])[expected["map_render"]]
    # the recorded rendering keeps river and stream apart, and so does the scene
    np.testing.assert_array_equal(scene, drawn)


@pytest.mark.golden("cleanup_*.npz")
def test_recorded_pictures(trace):
    rows = trace.rows
    states = trace.state(rows["next_pos"], rows["next_orient"], rows["next_map"], rows["beam"])
    seen = jax.jit(jax.vmap(trace.env.observe))(states)
    assert seen.shape == rows["next_obs"].shape and seen.dtype == jnp.float32
    np.testing.assert_array_equal(seen * 256, rows["next_obs"])


@pytest.mark.golden("cleanup_*.npz")
def test_recorded_resets(trace):
    env, rows, first = trace.env, trace.rows, trace.resets
    assert first.any()
    position, orientation = (
        jnp.asarray(rows[name][first], jnp.int32) for name in ("next_pos", "next_orient")
    )
    draws = trace.starts(trace.spawn_draws())
    states = jax.jit(jax.vmap(env.start))(position, orientation, draws)
    np.testing.assert_array_equal(jax.vmap(env.contents)(states), rows["next_map"][first])
    assert not states.beam.any() and not rows["beam"][first].any()
    keys = jax.random.split(jax.random.PRNGKey(0), first.sum())
    own, _ = jax.jit(jax.vmap(env.reset))(keys)
    layout = env.layout
    if not env.shuffle_spawn:
        np.testing.assert_array_equal(own.position, rows["next_pos"][first])
    else:
        for places in (own.position, rows["next_pos"][first]):
            cells = np.asarray(places).astype(int) @ [layout.width, 1]
            assert np.isin(cells, layout.spawn_cells).all()
            assert all(len(set(row)) == len(row) for row in cells.tolist())
