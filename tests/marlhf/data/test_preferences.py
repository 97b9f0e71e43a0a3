"""The synthetic judge: odds, fresh labels, the split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlhf.data import preferences


def test_the_odds_are_the_logistic_ones():
    returns, count = jnp.asarray([2.0, -1.0]), 20_000
    spread = preferences.return_range(returns)
    margins = preferences.margin(returns, jnp.tile(jnp.asarray([[0], [1]]), (1, count)), spread, 0.7)
    np.testing.assert_allclose(margins, 0.7, rtol=1e-6)  # (2 - -1) / 3
    labels = preferences.draw_labels(jax.random.key(0), margins)
    assert set(np.unique(labels)) == {-1.0, 1.0}
    assert abs((labels == 1).mean() - jax.nn.sigmoid(0.7)) < 0.01


def test_equal_returns_are_even_odds():
    assert float(preferences.return_range(jnp.ones(3))) > 0
    margins = preferences.margin(
        jnp.ones(3), jnp.asarray([[0], [1]]), preferences.return_range(jnp.ones(3)), 5.0
    )
    assert margins.tolist() == [0.0]


def test_labels_are_drawn_anew():
    margins = jnp.zeros(64)
    first, second = (preferences.draw_labels(jax.random.key(seed), margins) for seed in (0, 1))
    assert (first != second).any()


def test_pairs_are_even_and_of_the_minibatch():
    pairs = preferences.draw_pairs(jax.random.key(0), 8, 8000)
    assert pairs.shape == (2, 8000)
    counts = np.bincount(np.asarray(pairs).reshape(-1), minlength=8)
    assert len(counts) == 8 and abs(counts / 2000 - 1).max() < 0.1
    assert 0.1 < (pairs[0] == pairs[1]).mean() < 0.15, "a trajectory may meet itself"


@pytest.mark.parametrize(
    ("count", "minibatch", "sizes"), [(115_200, 256, (405, 45)), (38_400, 256, (135, 15)), (511, 256, (0, 1))]
)
def test_known_splits(count, minibatch, sizes):
    assert preferences.split_sizes(count, minibatch) == sizes


@given(st.integers(0, 10_000), st.integers(1, 300))
def test_a_split_never_takes_more_than_there_is(count, minibatch):
    training, testing = preferences.split_sizes(count, minibatch)
    assert (training + testing) * minibatch <= count and training <= 9 * testing + 8
