"""Movement: situations by hand, and any situation against the rules written out with dictionaries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iqflow.env.cleanup import movement

NOTHING = -1  # asks for no cell


def by_the_text(cell, asked, order):
    """Spec 3.3, step 1, sentence by sentence. `asked` is a cell or `NOTHING` per agent."""
    at, n = list(cell), len(cell)
    requests = {agent: place for agent, place in enumerate(asked) if place != NOTHING}

    def standing(place):
        there = [agent for agent in range(n) if at[agent] == place]
        return there[-1] if there else None

    claims = {place: [agent for agent in range(n) if asked[agent] == place] for place in requests.values()}
    for place, claimants in sorted(claims.items()):
        if len(claimants) < 2:
            continue
        other = standing(place)
        blocked = other is not None and any(
            other == claimant or requests.get(other, at[other]) in (at[other], at[claimant])
            for claimant in claimants
        )
        if not blocked:
            at[min(claimants, key=order.index)] = place
        requests.update({claimant: at[claimant] for claimant in claimants})
    while requests:
        left = len(requests)
        for agent in range(n):
            if agent not in requests:
                continue
            place, other = requests[agent], standing(requests[agent])
            if other is None:
                at[agent] = place
                del requests[agent]
            elif other == agent or requests.get(other, at[other]) == at[other]:
                del requests[agent]
            elif requests[other] == at[agent]:
                del requests[agent], requests[other]
        if len(requests) == left:
            for agent, place in requests.items():
                at[agent] = place
            break
    return at


@functools.cache
def compiled():
    return jax.jit(movement.resolve)


def resolve(cell, asked, order):
    cell, asked = np.array(cell, np.int32), np.array(asked, np.int32)
    priority = np.empty(len(cell), np.float32)
    priority[list(order)] = np.arange(len(cell))
    goal = np.where(asked == NOTHING, cell, asked)
    moved = compiled()(
        jnp.asarray(cell), jnp.asarray(goal), jnp.asarray(asked != NOTHING), jnp.asarray(priority)
    )
    return np.asarray(moved).tolist()


@pytest.mark.parametrize(
    ("cell", "asked", "order", "after"),
    [
        ((0, 2), (1, 1), (1, 0), (0, 1)),  # one free cell: the first in the order gets it
        ((0, 2), (1, 1), (0, 1), (1, 2)),
        ((0, 1), (1, NOTHING), (0, 1), (0, 1)),  # the other turns or fires
        ((0, 1), (1, 1), (0, 1), (0, 1)),  # the other stays
        ((0, 1), (1, 0), (0, 1), (0, 1)),  # no swapping
        ((0, 1), (1, 2), (0, 1), (1, 2)),  # following, the leader has the higher index
        ((1, 0), (2, 1), (0, 1), (2, 1)),  # and the lower
        ((0, 1, 2), (1, 2, 3), (0, 1, 2), (1, 2, 3)),  # a chain
        ((0, 1, 2), (1, 2, NOTHING), (0, 1, 2), (0, 1, 2)),  # a chain that is stuck
        ((0, 1, 2), (1, 2, 0), (0, 1, 2), (1, 2, 0)),  # a ring
        ((0, 1, 3, 2), (1, 3, 2, 0), (0, 1, 2, 3), (1, 3, 2, 0)),  # four in a square
        ((0, 2, 1), (1, 1, 4), (1, 0, 2), (0, 1, 4)),  # a contested cell whose occupant leaves
        ((0, 2, 1), (1, 1, 0), (1, 0, 2), (0, 2, 1)),  # its occupant wants a claimant's cell
        ((0, 2, 1), (1, 1, NOTHING), (1, 0, 2), (0, 2, 1)),
    ],
)
def test_by_hand(cell, asked, order, after):
    assert by_the_text(cell, asked, list(order)) == list(after)
    assert resolve(cell, asked, order) == list(after)


def test_the_rules_can_put_two_of_four_agents_on_one_cell():
    # 0 and 1 claim the cell of 2, which asks for the cell of 3, which stays: 0 wins the cell and 2 can't leave
    cell, asked = (0, 2, 1, 4), (1, 1, 4, NOTHING)
    assert resolve(cell, asked, (0, 1, 2, 3)) == by_the_text(cell, asked, [0, 1, 2, 3]) == [1, 2, 1, 4]


@st.composite
def situations(draw):
    """Agents on a 4 x 4 board; each asks for a neighbouring cell, its own, or nothing."""
    n = draw(st.sampled_from((1, 2, 3, 5, 9)))
    cell = draw(st.permutations(range(16)))[:n]
    asked = []
    for place in cell:
        row, column = divmod(place, 4)
        near = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [4 * r + c for r, c in near if 0 <= r < 4 and 0 <= c < 4]
        asked.append(draw(st.sampled_from([*inside, *inside, place, NOTHING])))
    return cell, asked, draw(st.permutations(range(n)))


@settings(max_examples=600)
@given(situations())
def test_any_situation(situation):
    cell, asked, order = situation
    after = resolve(cell, asked, order)
    assert after == by_the_text(cell, asked, list(order))
    for before, wanted, now in zip(cell, asked, after, strict=True):
        assert now in (before, wanted)
    if len(cell) < 4:
        assert len(set(after)) == len(after)
