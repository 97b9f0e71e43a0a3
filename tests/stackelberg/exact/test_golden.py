"""Enumeration against the recorded best responses and Stackelberg values: equal, not close (acceptance 3 and 4)."""

import json

import numpy as np
import pytest

from stackerlberg.exact import (
    best_responses,
    enumerate_leaders,
    one_shot,
    policy_returns,
    protocol_optimum,
    protocol_value,
    stochastic_commitment,
)
from stackerlberg.games import Game, named_game
from stackerlberg.protocol import Protocol

MEMORIES = {"joint": "5-state", "small": "3-state", "opponent": "3-state", "none": "none"}
RULES = {
    "leader_lex": ("lexicographic", False),
    "leader_opt": ("optimistic", False),
    "leader_pes": ("pessimistic", False),
    "dp_leader_opt": ("optimistic", True),
    "dp_leader_pes": ("pessimistic", True),
}


def digits(table) -> str:
    return "".join(map(str, table))


@pytest.mark.golden("best_response_targets*.json")
def test_best_responses(case):
    checked = 0
    for key, targets in json.loads(case.read_text()).items():
        name, memory, horizon = key.split("|")
        game = named_game({"modified_pd": "modified_prisoners_dilemma"}.get(name, name))
        found = best_responses(game, Protocol(MEMORIES[memory], int(horizon.removeprefix("H"))))
        for leader, table, value in zip(found.leaders, found.tables, found.follower_return, strict=True):
            assert [value, digits(table)] == targets[digits(leader)], (key, leader)
            checked += 1
        assert len(targets) == len(found.leaders)
    assert checked


def setting(name: str) -> Protocol:
    memory, horizon = name.split("_H")
    return Protocol(MEMORIES[memory], int(horizon), reward_offset=0)


def repeated(record: dict) -> list[str]:
    return [key for key in record if "_H" in key]


@pytest.mark.golden("exact_stackelberg*.json")
def test_stackelberg_values(case):
    for name, record in json.loads(case.read_text())["games"].items():
        game = Game(name, record["payoffs"])
        for key in repeated(record):
            found = enumerate_leaders(game, setting(key))
            for rule, arguments in RULES.items():
                best, expected = found.optimum(*arguments), record[key]["summary"][rule]
                assert best.value == expected["value"], (name, key, rule)
                assert best.leaders.tolist() == expected["leaders"], (name, key, rule)
                assert best.value / setting(key).episode_length == expected["per_step"]
            responses = found.responses
            for row, expected in enumerate(record[key].get("table", [])):
                lexicographic, optimistic, pessimistic = responses.leader_return[row].tolist()
                assert expected == [
                    responses.leaders[row].tolist(),
                    responses.follower_return[row],
                    responses.tables[row].tolist(),
                    *(optimistic, pessimistic, lexicographic),
                    *found.time_aware[row].tolist(),
                ]


@pytest.mark.golden("exact_stackelberg*.json")
def test_one_shot(case):
    for name, record in json.loads(case.read_text())["games"].items():
        found, expected = one_shot(Game(name, record["payoffs"])), record["one_shot"]
        for action, pure in enumerate(expected["pure"]):
            assert pure["leader_action"] == action
            assert list(found.best_responses[action]) == pure["follower_best_responses"]
            assert found.optimistic[action] == pure["leader_value_optimistic"]
            assert found.pessimistic[action] == pure["leader_value_pessimistic"]
        assert found.optimistic.max() == expected["pure_value_optimistic"]
        assert found.pessimistic.max() == expected["pure_value_pessimistic"]
        assert [list(pair) for pair in found.nash] == expected["pure_nash"]
        mixed = expected["mixed"]
        assert found.mixed.leader[0] == pytest.approx(mixed["leader_prob_action0"], abs=1e-9)
        assert found.mixed.follower == mixed["follower_action"]
        assert found.mixed.leader_value == pytest.approx(mixed["leader_value"], abs=1e-9)
        assert found.mixed.follower_value == pytest.approx(mixed["follower_value"], abs=1e-9)


@pytest.mark.golden("exact_stackelberg*.json")
def test_stochastic_leaders(case):
    """The searches reach what was found before; the recorded optima have the recorded values."""
    checked = 0
    for name, record in json.loads(case.read_text())["games"].items():
        game = Game(name, record["payoffs"])
        for key in repeated(record):
            if "stochastic" not in record[key]:
                continue
            protocol, expected = setting(key), record[key]["stochastic"]
            found = stochastic_commitment(game, protocol)
            assert found.value >= expected["stochastic_SE_value_found"] - 1e-6, (name, key)
            recorded = np.array(expected["leader_p_action0"])
            at = policy_returns(game, protocol, np.stack([recorded, 1 - recorded], -1), expected["follower"])
            assert at[0] == pytest.approx(expected["stochastic_SE_value_found"], abs=1e-9)
            assert at[1] == pytest.approx(expected["follower_value"], abs=1e-9)

            objective = expected["protocol_objective"]
            assert protocol_optimum(game, protocol).value >= objective["value"] - 1e-6, (name, key)
            recorded = np.array(objective["p_action0"])
            at = protocol_value(game, protocol, np.stack([recorded, 1 - recorded], -1))
            assert at[0] == pytest.approx(objective["value"], abs=1e-9)
            uniform = protocol_value(game, protocol, np.full((len(recorded), 2), 0.5))
            assert uniform.tolist() == pytest.approx(
                [objective["uniform"], objective["uniform_follower"]], abs=1e-9
            )
            checked += 1
    assert checked
