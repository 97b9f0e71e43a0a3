"""Codes, inputs and refusals of the batched engine against the step-by-step environments and the recorded traces."""

import json

import numpy as np
import pytest
from gymnasium import spaces

from common.cli import UserError
from stackerlberg.batched import translate
from stackerlberg.envs import make_env
from stackerlberg.experiments.configuration import build
from stackerlberg.games import FOLLOWER, LEADER

REPEATED = "repeated_matrix_game_stackelberg_observed_queries"
ONE_SHOT = "matrix_game_stackelberg_observed_queries"


def configured(factory, env_config, **keys):
    """A configuration of an environment."""
    own = {"follower_agent_ids": [], "inner_iterations_follower": 0} if factory.endswith("tabularq") else {}
    return build({"common_config": {"env": factory, "env_config": env_config}, **own, **keys})


def follower_steps(record):
    """From a recorded episode: the leader's answers in the order in which it gave them, what the follower saw."""
    for trace in record["episodes"]:
        answers, seen = [], []
        for at, entry in enumerate(trace):
            if FOLLOWER in entry["obs"]:
                seen.append(entry["obs"][FOLLOWER])
            elif at + 1 < len(trace):
                answers.append(trace[at + 1]["actions"][LEADER])
        yield answers, seen


def own_observations(trace, protocol, actions):
    """The follower's own observation at every game step of a recorded episode, from the actions."""
    state, found = 0, [0]
    for entry in trace:
        given = entry.get("actions", {})
        if FOLLOWER in given:
            state = 1 + given[LEADER] + actions[0] * given[FOLLOWER]
            found.append(int(protocol.views(actions)[state, 1]))
    return found


def flat(observation, own, answers):
    """A dictionary observation's entries sorted by key: whole numbers one-hot, of `own` or of `answers` values."""

    def entry(key, value):
        return np.eye(own if key == "original_space" else answers)[value] if isinstance(value, int) else value

    return np.float32(np.concatenate([entry(key, observation[key]) for key in sorted(observation)]))


@pytest.mark.golden("env_traces*.json")
def test_codes_and_inputs_are_the_recorded_observations(case):
    """Spec 3.3: the own observation first, then the answers in the order in which they were asked."""
    for record in json.loads(case.read_text()):
        if record["kind"] != "observed_queries_env":
            continue
        configuration = configured(record["factory"], record["env_config"])
        protocol, actions = translate.protocol_of(configuration), translate.game_of(configuration).actions
        inputs = translate._answers_as_inputs(protocol, actions)
        episodes = zip(record["episodes"], follower_steps(record), strict=True)
        for trace, (answers, seen) in episodes:
            context = int(protocol.context_code(answers, actions))
            for own, observation in zip(own_observations(trace, protocol, actions), seen, strict=True):
                code = int(protocol.follower_code(own, context, actions))
                if inputs is None:
                    assert code == observation
                    continue
                assert observation["original_space"] == own
                flattened = flat(observation, protocol.observation_counts(actions)[1], actions[0])
                np.testing.assert_array_equal(np.float32(inputs)[:, code], flattened)


CASES = [
    (ONE_SHOT, {}),
    (ONE_SHOT, {"n_samples": 3}),
    (ONE_SHOT, {"n_samples": 2, "samples_summarize": "mean"}),
    (REPEATED, {"small_memory": True}),
    (REPEATED, {"small_memory": True, "n_samples": 2}),
    (REPEATED, {"small_memory": True, "n_samples": 3, "samples_summarize": "mean"}),
    (REPEATED, {"small_memory": True, "query_observations": (2, 0)}),
    # eleven queries of three actions by name: q10_0 comes before q1_0
    (REPEATED, {"matrix": np.ones((2, 5, 2)).tolist()}),
    (REPEATED, {"small_memory": True, "matrix": np.ones((3, 2, 2)).tolist()}),
]


@pytest.mark.parametrize(("factory", "config"), CASES)
def test_inputs_are_gymnasiums_flattened_observations(factory, config):
    """Column `code` of the inputs is what the environment shows after the answers with that code."""
    configuration = configured(factory, config)
    protocol, actions = translate.protocol_of(configuration), translate.game_of(configuration).actions
    inputs = np.array(translate._answers_as_inputs(protocol, actions))
    env, rng = make_env(factory, config), np.random.default_rng(0)
    seen_codes = set()
    for _ in range(40):
        observations, _ = env.reset()
        answers, state, over = [], 0, False
        while not over:
            asked = FOLLOWER not in observations
            given = {agent: int(rng.integers(actions[agent == FOLLOWER])) for agent in observations}
            if not asked:
                own = int(protocol.views(actions)[state, 1])
                code = int(protocol.follower_code(own, protocol.context_code(answers, actions), actions))
                space = env.observation_spaces[FOLLOWER]
                np.testing.assert_array_equal(inputs[:, code], spaces.flatten(space, observations[FOLLOWER]))
                seen_codes.add(code)
                state = 1 + given[LEADER] + actions[0] * given[FOLLOWER]
            else:
                answers.append(given[LEADER])
            observations, _, dones, _ = env.step(given)
            over = dones["__all__"]
    assert len(seen_codes) > 1


@pytest.mark.parametrize("mock", [False, True])
def test_a_told_leaders_inputs_are_gymnasiums(mock):
    config = {"small_memory": True, "tell_leader": True, "tell_leader_mock": mock}
    configuration = configured(REPEATED, config)
    protocol, actions = translate.protocol_of(configuration), (2, 2)
    network = translate.spec_of(configuration).leader_network
    assert translate._phase_as_inputs(protocol, actions) == network.features
    env, state = make_env(REPEATED, config), 0
    observations, _ = env.reset()
    for step in range(3 + 10):
        seen = int(protocol.views(actions)[state, 0])
        code = protocol.leader_code(step if step < 3 else seen, int(step < 3), actions)
        expected = spaces.flatten(env.observation_spaces[LEADER], observations[LEADER])
        np.testing.assert_array_equal(np.array(network.features)[:, code], expected)
        given = {agent: step % 2 for agent in observations}
        if step >= 3:
            state = 1 + given[LEADER] + 2 * given[FOLLOWER]
        observations, *_ = env.step(given)
    told = configured(REPEATED, config | {"discrete_obs": True})
    assert translate.spec_of(told).leader_network.features is None


@pytest.mark.parametrize(
    ("factory", "config"),
    [
        (REPEATED, {"hypernetwork": True}),
        (ONE_SHOT, {"mixed_strategies": True}),
        ("repeated_matrix_game", {}),
        ("matrix_game", {}),
        ("matrix_game_stackelberg_learning_dynamics", {}),
        ("repeated_matrix_game_stackelberg_learning_dynamics", {}),
        ("test_env", {}),
    ],
)
def test_what_only_the_other_engine_has_is_refused_by_its_name(factory, config):
    with pytest.raises(UserError, match="--engine rllib$"):
        translate.spec_of(configured(factory, config))


def test_more_kinds_of_transitions_than_a_buffer_knows_are_refused():
    matrix = np.ones((4, 4, 2)).tolist()
    keys = {"leader_algorithm": "SimpleQ"}
    with pytest.raises(UserError, match="255 kinds of transitions, and a leader of this game has 1088"):
        translate.spec_of(configured("repeated_matrix_game_tabularq", {"matrix": matrix}, **keys))
    with pytest.raises(UserError, match="a follower of this game has 1280"):
        translate.spec_of(configured(REPEATED, {"discrete_obs": True}, follower_algorithm="SimpleQ"))
    # a table's learner keeps no transitions: with five states only the leader's are counted
    assert translate.spec_of(configured(REPEATED, {"discrete_obs": True}, **keys)).leader.kinds == 50


def test_what_the_environments_refuse_is_refused():
    with pytest.raises(UserError, match="mean has no whole-number code"):
        config = {"samples_summarize": "mean", "discrete_obs": True}
        translate.spec_of(configured(REPEATED, config))
