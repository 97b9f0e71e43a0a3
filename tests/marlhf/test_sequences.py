"""Rows as sequences: what lies where, when networks forget, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from common.cli import UserError
from marlhf import sequences
from marlhf.data.files import empty_rows

STEPS, EPISODE, AGENTS, ROWS, WIDTH = 6, 3, 2, 4, 5


@pytest.fixture
def rows():
    """Contents say where they are from."""
    found = empty_rows(STEPS, AGENTS, ROWS, WIDTH, 1)
    time, agent, row = np.meshgrid(np.arange(STEPS), np.arange(AGENTS), np.arange(ROWS), indexing="ij")
    found.actions[...] = 100 * time + 10 * agent + row
    found.obs[...] = found.actions[..., None]
    found.dones[...] = (np.arange(STEPS) % EPISODE == EPISODE - 1)[:, None]
    return found


@pytest.mark.parametrize("alignment, count", [("corrected", 2), ("original", 1)])
def test_every_number_is_where_it_says(rows, alignment, count):
    data = sequences.from_rows(rows, EPISODE, alignment)
    length = STEPS // count
    assert data.actions.shape == (ROWS, count, length, AGENTS)
    for row in range(ROWS):
        for piece in range(count):
            for step in range(length):
                for agent in range(AGENTS):
                    number = 100 * (piece * length + step) + 10 * agent + row
                    assert data.actions[row, piece, step, agent] == number
                    assert (data.obs[row, piece, step, agent] == number).all()
    np.testing.assert_array_equal(data.dones.reshape(ROWS, STEPS), rows.dones.T)


def test_time_first_keeps_the_pieces_of_a_row_together(rows):
    data = sequences.from_rows(rows, EPISODE, "corrected")
    found = sequences.time_first(jnp.asarray(data.actions[:2]))
    assert found.shape == (EPISODE, 4, AGENTS)
    np.testing.assert_array_equal(found[1, :, 0], [100, 400, 101, 401])


def test_when_networks_forget():
    dones = jnp.array([0, 1, 0, 0], bool)[:, None]
    np.testing.assert_array_equal(sequences.resets(dones, "corrected")[:, 0], [1, 0, 1, 0])
    np.testing.assert_array_equal(sequences.resets(dones, "original")[:, 0], [0, 1, 0, 0])


def test_the_agent_index_is_cut_off():
    np.testing.assert_array_equal(sequences.without_index(jnp.arange(5.0)[None], 2), [[0, 1, 2]])


def test_unfit_data_is_refused(rows):
    with pytest.raises(UserError, match="6 steps hold no whole number of episodes of 4"):
        sequences.from_rows(rows, 4, "corrected")
    with pytest.raises(UserError, match="unknown alignment 'new'"):
        sequences.from_rows(rows, EPISODE, "new")
    with pytest.raises(UserError, match="do not end every 2 steps"):
        sequences.from_rows(rows, 2, "corrected")
