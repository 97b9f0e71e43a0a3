"""The recurrent player's network against the same equations written out another way."""

import numpy as np
import pytest

from tournament.player_file import read
from tournament.recurrent import Dense, Network

HISTORY = [4, 0, 1, 3, 2, 2, 0, 1, 3, 3, 4]


def network(net, activation, cooperation):
    linear = Dense(net["linear"]["kernel"], net["linear"]["bias"], activation)
    gru = {name: Dense(part["kernel"], part.get("bias", np.zeros(3))) for name, part in net["gru"].items()}
    return Network(net["inputs"], (linear,), gru, Dense(**net["readout"]), cooperation)


@pytest.mark.parametrize("activation", ["relu", "none"])
@pytest.mark.parametrize("cooperation", [0, 1])
def test_the_network_is_the_equations(activation, cooperation, small_network, by_hand):
    net = small_network(3)
    found = network(net, activation, cooperation).along(HISTORY)
    assert found == pytest.approx(by_hand(net, HISTORY, activation == "relu", cooperation), abs=1e-6)


def test_the_two_actions_share_what_there_is(small_network):
    net = small_network(1)
    first, second = (network(net, "relu", cooperation).along(HISTORY) for cooperation in (0, 1))
    assert np.add(first, second) == pytest.approx(np.ones(len(HISTORY)), abs=1e-6)


def test_large_weights_do_not_overflow(small_network):
    net = small_network(2)
    net["readout"]["kernel"] = net["readout"]["kernel"] * 1e4
    assert set(np.round(network(net, "relu", 1).along(HISTORY), 6)) <= {0.0, 1.0}


def test_it_remembers(recurrent, write):
    """The same situation after different pasts is answered differently, and a fresh start forgets."""
    net = read(write(recurrent)).network
    after_peace, after_war = net.along([4, 0, 0, 0])[-1], net.along([4, 3, 3, 0])[-1]
    assert abs(after_peace - after_war) > 1e-3
    assert net.along([4, 0]) == net.along([4, 0])
