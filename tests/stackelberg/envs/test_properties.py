"""Properties of the environments for any game, and agreement with the referees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackerlberg.envs import LeaderEnv, make_env, table_follower
from stackerlberg.envs.matrix import MatrixGame, sample_all_but_last
from stackerlberg.envs.tabular_q import TabularQFollower
from stackerlberg.exact import exact_followers, policy_returns, protocol_value
from stackerlberg.games import FOLLOWER, LEADER, PAPER_GAMES, Game, named_game
from stackerlberg.protocol import Protocol, mixed_radix

REPEATED = "repeated_matrix_game_stackelberg_observed_queries"
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))


def random_game(seed: int, sizes) -> Game:
    return Game("random", np.random.default_rng(seed).integers(-4, 5, (*sizes, 2)))


def play(env, leader, follower) -> tuple[list, np.ndarray]:
    """One episode of two tables over what the players see: observations and total rewards."""
    observations, _ = env.reset(seed=0)
    seen, total, over = [observations], np.zeros(2), False
    while not over:
        actions = {LEADER: int(leader[observations[LEADER]])}
        if FOLLOWER in observations:
            actions[FOLLOWER] = int(follower[observations[FOLLOWER]])
        observations, rewards, dones, _ = env.step(actions)
        total += [rewards.get(LEADER, 0), rewards.get(FOLLOWER, 0)]
        seen, over = [*seen, observations], dones["__all__"]
    return seen, total


@settings(max_examples=40)
@given(st.integers(0, 9999), SIZES, st.sampled_from(["none", "3-state", "5-state"]), st.integers(1, 6))
def test_tables_earn_what_the_referee_says(seed, sizes, memory, horizon):
    game, rng = random_game(seed, sizes), np.random.default_rng(seed)
    protocol = Protocol(memory, horizon)
    n_leader, n_follower = protocol.observation_counts(game.actions)
    leader, follower = rng.integers(0, sizes[0], n_leader), rng.integers(0, sizes[1], n_follower)
    seen, total = play(MatrixGame(game, horizon, memory, -2.5), leader, follower)
    assert total.tolist() == policy_returns(game, protocol, leader, follower).tolist()
    assert len(seen) == horizon + 1


@settings(max_examples=40)
@given(st.integers(0, 9999), SIZES, st.booleans(), st.booleans(), st.booleans())
def test_queries_only_stand_in_front(seed, sizes, small, told, hidden):
    """The answers reach the follower's code; the game behind them is the plain one."""
    game, rng = random_game(seed, sizes), np.random.default_rng(seed)
    protocol = Protocol("3-state" if small else "5-state", 3, tell_leader=told)
    if protocol.contexts(game.actions) > 5000:
        return
    config = {"matrix": game.payoffs, "small_memory": small, "tell_leader": told, "hidden_queries": hidden}
    env = make_env(REPEATED, {**config, "episode_length": 3, "discrete_obs": True})
    assert env.observation_spaces[LEADER].n == protocol.leader_codes(game.actions)
    assert env.observation_spaces[FOLLOWER].n == protocol.follower_codes(game.actions)
    n_leader, n_follower = protocol.observation_counts(game.actions)
    leader = rng.integers(0, sizes[0], protocol.leader_codes(game.actions))
    followers = rng.integers(0, sizes[1], (protocol.contexts(game.actions), n_follower))
    seen, total = play(env, leader, followers.T.reshape(-1))
    answers = leader[n_leader:] if told else leader
    context = int(protocol.context_code(answers, game.actions))
    assert context == mixed_radix(answers, [sizes[0]] * n_leader)
    assert total.tolist() == policy_returns(game, protocol, leader[:n_leader], followers[context]).tolist()
    assert len(seen) == protocol.episode_steps(game.actions) + 1


@settings(max_examples=30)
@given(st.integers(0, 9999), st.permutations(range(2)), st.permutations(range(3)))
def test_permuted_payoffs_and_actions_give_the_same_rewards(seed, rows, columns):
    payoffs = np.random.default_rng(seed).integers(-4, 5, (2, 3, 2))
    plain, permuted = (
        MatrixGame(Game("g", p), 4, "5-state") for p in (payoffs, payoffs[np.ix_(rows, columns)])
    )
    plain.reset(), permuted.reset()
    for own, other in np.random.default_rng(seed).integers(0, [2, 3], (4, 2)).tolist():
        _, rewards, _, _ = plain.step({LEADER: rows[own], FOLLOWER: columns[other]})
        assert permuted.step({LEADER: own, FOLLOWER: other})[1] == rewards


@pytest.mark.parametrize("name", PAPER_GAMES)
def test_the_papers_games_are_symmetric_and_ordinal(name):
    payoffs = named_game(name).payoffs
    assert np.array_equal(payoffs[..., 0], payoffs[..., 1].T)
    assert sorted(payoffs[..., 0].ravel()) == [1, 2, 3, 4]


def test_spaces_of_the_paper():
    sizes = [
        [
            space.n
            for space in make_env(
                REPEATED, {"discrete_obs": True, "tell_leader": True, **memory}
            ).observation_spaces.values()
        ]
        for memory in ({"small_memory": True}, {})
    ]
    assert sizes == [[6, 24], [10, 160]]


@pytest.mark.parametrize("consistent", [False, True])
def test_sampled_episodes_agree_with_the_exact_protocol_value(consistent):
    """A mixed leader against the exact follower, with and without one action per observation (quirk Q13)."""
    game, protocol = named_game("prisoners_dilemma"), Protocol("3-state", 5, consistent_commitment=consistent)
    policy, rng = np.array([[0.3, 0.7], [0.8, 0.2], [0.4, 0.6]]), np.random.default_rng(5)
    table = exact_followers(game, protocol).T.reshape(-1)
    env = LeaderEnv(
        REPEATED,
        {
            "small_memory": True,
            "episode_length": 5,
            "discrete_obs": True,
            "consistent_commitment": consistent,
        },
        follower=table_follower(table),
    )
    returns = []
    for _ in range(3000):
        observation, _ = env.reset()
        over, total = False, 0.0
        while not over:
            observation, reward, over, _, info = env.step(int(rng.random() >= policy[observation, 0]))
            assert ("executed_action" in info) == consistent
            total += reward
        returns.append(total)
    exact = protocol_value(game, protocol, policy)[0]
    assert abs(np.mean(returns) - exact) < 4 * np.std(returns) / np.sqrt(len(returns))


def test_hidden_queries_change_infos_only():
    plain, hidden = (
        make_env(REPEATED, {"hidden_queries": flag, "small_memory": True}) for flag in (False, True)
    )
    first, second = plain.reset(), hidden.reset()
    assert first[0] == second[0] and second[1] == {LEADER: {"hidden": True}} and first[1] == {LEADER: {}}
    marked = []
    for _ in range(13):
        actions = {LEADER: 1, FOLLOWER: 0}
        one, other = plain.step(actions), hidden.step(actions)
        assert one[:3] == other[:3]
        marked.append(other[3].get(LEADER, {}).get("hidden", False))
    assert marked == [True, True] + [False] * 11


@pytest.mark.parametrize("probability", [1, 4])
def test_sparse_reward_has_the_right_mean(probability):
    config = {
        "follower_sparse_reward_prob": probability,
        "follower_sparse_reward_scale": 8,
        "n_q_episodes": 0,
    }
    env = make_env("matrix_game_tabularq", {**config, "matrix": [[[0, 1]]]})._env
    env.reset(seed=0)
    paid = []
    for _ in range(2000):
        env.reset()
        paid.append(env.step({LEADER: 0, FOLLOWER: 0})[1][FOLLOWER])
    assert set(paid) <= {0.0, 8.0} and abs(np.mean(paid) - 8 / probability) < 0.6


def test_the_inner_follower_learns_a_best_response():
    env = make_env("matrix_game_tabularq", {"matrix_name": "battle_of_the_sexes", "n_q_episodes": 80})
    for action, best in ((0, 2.0), (1, 1.0)):
        env.reset(seed=1)
        steps = [env.step({LEADER: action}) for _ in range(81)]
        assert [step[1][LEADER] for step in steps[:-1]] == [0.0] * 80
        assert steps[-1][1][LEADER] == best and steps[-1][2] == {"__all__": True}


def test_reward_out_of_equilibrium_and_its_evaluation():
    config = {"matrix_name": "penalty_game-x2-miss-5", "n_q_episodes": 10, "leader_reward_during_q": True}
    totals = []
    for evaluation in (False, True):
        env = make_env("matrix_game_tabularq", {**config, "q_init_zero": True, "_is_eval_env": evaluation})
        env.reset(seed=0)
        totals.append(sum(env.step({LEADER: 1})[1][LEADER] for _ in range(11)))
    assert totals[0] != totals[1] and totals[1] in (1.0, -5.0)


@pytest.mark.parametrize("reset", [True, False])
def test_carried_tables(reset):
    env = TabularQFollower(
        MatrixGame(named_game("battle_of_the_sexes")), n_q_episodes=3, reset_between_episodes=reset
    )
    env.reset(seed=0)
    for _ in range(4):
        env.step({LEADER: 0})
    learnt = env.q_table.copy()
    env.reset()
    assert np.array_equal(env.q_table, learnt) != reset


def test_evaluation_has_no_learning_dynamics():
    name = "matrix_game_stackelberg_learning_dynamics"
    assert make_env(name, {"_is_eval_env": True}).reset() == ({LEADER: 0, FOLLOWER: 0}, {})
    env = make_env(name, {"_is_eval_env": True})
    env.reset()
    assert env.step({LEADER: 0, FOLLOWER: 0})[2] == {"__all__": True}


def test_hypernetwork_plays_its_table():
    """A deterministic table emitted once earns what the same table earns step by step."""
    game, protocol = named_game("prisoners_dilemma"), Protocol("3-state", 10)
    for discrete in (False, True):
        env = make_env(
            "repeated_matrix_game", {"hypernetwork": True, "discrete_hyper": discrete, "small_memory": True}
        )
        table = np.array([0, 1, 0], dtype=env.action_spaces[LEADER].dtype)  # probability of action 0
        observations, _ = env.reset(seed=0)
        assert observations == {LEADER: 0}
        observations, rewards, dones, _ = env.step({LEADER: table})
        total = 0.0
        while not dones["__all__"]:
            observations, rewards, dones, _ = env.step({FOLLOWER: [0, 0, 1][observations[FOLLOWER]]})
            total += rewards[FOLLOWER]
        expected = policy_returns(game, protocol, np.array([1, 0, 1]), np.array([0, 0, 1]))
        assert [rewards[LEADER], total] == expected.tolist()


def test_mixed_actions_are_sampled():
    rng = np.random.default_rng(0)
    drawn = [sample_all_but_last(np.array([0.5, 0.3]), rng) for _ in range(4000)]
    assert np.allclose(np.bincount(drawn) / 4000, [0.5, 0.3, 0.2], atol=0.03)
    assert {sample_all_but_last(np.array([1.0, 1.0]), rng) for _ in range(200)} == {0, 1}
