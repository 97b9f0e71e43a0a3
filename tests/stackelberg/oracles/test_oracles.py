"""Every oracle answers like the exact one on small games, and the theorem's conditions do what they say."""

import numpy as np
import pytest

from common.cli import UserError
from stackerlberg import (
    Conditions,
    ContextualOracle,
    EvolutionOracle,
    ExactOracle,
    Game,
    MarkovGame,
    PolicyGradientOracle,
    Protocol,
    TabularQOracle,
    best_response,
    named_game,
    repeated,
)
from stackerlberg.envs.matrix import MatrixGame
from stackerlberg.envs.tabular_q import TabularQFollower
from stackerlberg.exact import exact_followers, follower_regret, protocol_value
from stackerlberg.games import LEADER
from stackerlberg.oracles import LeaderAccess, run_episode
from stackerlberg.oracles.learners import centred_ranks, policy_gradient, softmax
from stackerlberg.protocol import all_tables

PROTOCOL = Protocol("3-state", 5)
DILEMMA = repeated(named_game("prisoners_dilemma"), PROTOCOL)
ONE_SHOT = repeated(Game.from_bimatrix([[2, 4, 1], [1, 3, 0], [0, 2, 2]], [[2, 1, 0], [0, 2, 1], [1, 0, 3]]))


def access(game, table, seed=0) -> LeaderAccess:
    return LeaderAccess(game, np.eye(game.actions[0])[table], Conditions(), np.random.default_rng(seed))


@pytest.mark.parametrize(
    "oracle",
    [
        ExactOracle(),
        TabularQOracle(episodes=120, epsilon=0.3),
        PolicyGradientOracle(iterations=30, episodes=8),
        EvolutionOracle(iterations=20, pairs=6),
    ],
    ids=lambda oracle: type(oracle).__name__,
)
def test_oracles_best_respond_to_every_one_shot_leader(oracle):
    for action, best in enumerate([0, 1, 2]):
        oracle.reset()
        follower = oracle.respond(access(ONE_SHOT, np.array([action])), np.random.default_rng(action))
        assert follower.shape == (1, 3) and follower.argmax() == best


def test_exact_and_contextual_oracles_agree_with_the_referee():
    followers = exact_followers(named_game("prisoners_dilemma"), PROTOCOL)
    rng = np.random.default_rng(0)
    for row, table in enumerate(all_tables(3, 2)):
        exact = ExactOracle().respond(access(DILEMMA, table), rng)
        contextual = ContextualOracle(followers).respond(access(DILEMMA, table), rng)
        assert np.array_equal(exact.argmax(-1), followers[row])
        assert np.array_equal(contextual, exact)


def test_exact_oracle_with_a_clock_defects_at_the_end():
    follower = ExactOracle(clock=True).respond(
        access(repeated(named_game("prisoners_dilemma"), Protocol("5-state", 4)), np.array([0, 0, 0, 1, 1])),
        np.random.default_rng(0),
    )
    assert follower.shape == (4, 5, 2)
    assert [int(follower[step, 1].argmax()) for step in range(1, 4)] == [0, 0, 1]


@pytest.mark.parametrize("consistent", [False, True])
def test_episodes_are_worth_what_the_referee_says(consistent):
    """The mean reward game of a mixed leader is the exact objective of the protocol."""
    policy = np.array([[0.3, 0.7], [0.8, 0.2], [0.4, 0.6]])
    oracle, rng = ExactOracle(), np.random.default_rng(1)
    conditions = Conditions(consistent_commitment=consistent)
    returns = np.array([run_episode(DILEMMA, policy, oracle, conditions, rng).returns for _ in range(3000)])
    protocol = Protocol("3-state", 5, consistent_commitment=consistent)
    exact = protocol_value(named_game("prisoners_dilemma"), protocol, policy)
    assert np.all(np.abs(returns.mean(axis=0) - exact) < 4 * returns.std(axis=0) / np.sqrt(len(returns)))


def test_the_trajectory_holds_queries_and_game():
    episode = run_episode(
        DILEMMA, np.full((3, 2), 0.5), ExactOracle(), Conditions(), np.random.default_rng(0)
    )
    record = episode.trajectory
    assert record.observations[:4] == [0, 1, 2, 0] and record.queries == [True] * 3 + [False] * 5
    assert record.rewards[:3] == [0, 0, 0] and sum(record.rewards) == episode.returns[0]


def test_phase_aware_leader_answers_from_its_own_rows():
    table = np.eye(2)[[1, 1, 1, 1, 0, 1]]  # plays defection, answers suspicious tit-for-tat
    conditions = Conditions(phase_aware=True)
    episode = run_episode(DILEMMA, table, ExactOracle(), conditions, np.random.default_rng(0))
    assert episode.trajectory.observations[:3] == [3, 4, 5] and episode.returns[0] == 7.5
    with pytest.raises(ValueError, match=r"must be \[6, 2\]"):
        run_episode(DILEMMA, table[:3], ExactOracle(), conditions, np.random.default_rng(0))


@pytest.mark.parametrize("paid", [False, True])
def test_reward_out_of_equilibrium(paid):
    conditions = Conditions(reward_out_of_equilibrium=paid)
    oracle = TabularQOracle(episodes=6)
    episode = run_episode(ONE_SHOT, np.eye(3)[[1]], oracle, conditions, np.random.default_rng(0))
    learning = episode.trajectory.rewards[:6]
    assert any(learning) == paid and episode.trajectory.rewards[6] == episode.returns[0]


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("kind", [TabularQOracle, PolicyGradientOracle, EvolutionOracle])
def test_carried_state(kind, carried):
    oracle = kind(3)
    conditions, rng = Conditions(carried_state=carried), np.random.default_rng(0)
    run_episode(ONE_SHOT, np.eye(3)[[0]], oracle, conditions, rng)
    kept = []
    reset = oracle.reset
    oracle.reset = lambda: (kept.append("reset"), reset())
    run_episode(ONE_SHOT, np.eye(3)[[0]], oracle, conditions, rng)
    assert bool(kept) != carried


def test_conditions_name_what_they_break():
    assert Conditions().violated == () == Conditions(consistent_commitment=True).violated
    assert Conditions(hidden_queries=True, carried_state=True).violated == ("hidden_queries", "carried_state")
    with pytest.raises(UserError, match="choose one of the two"):
        Conditions(phase_aware=True, consistent_commitment=True)


@pytest.mark.parametrize("memory", ["none", "3-state", "5-state"])
def test_tabular_q_oracle_is_the_environments_follower(memory):
    """Without randomness the oracle's table is, bit for bit, the wrapper's after the same leader actions."""
    game, protocol = named_game("modified_prisoners_dilemma"), Protocol(memory, 4)
    table = np.random.default_rng(2).integers(0, 2, protocol.observation_counts(game.actions)[0])
    oracle = TabularQOracle(episodes=5, alpha=0.3, gamma=0.9, epsilon=0.0, zero=True)
    oracle.respond(access(repeated(game, protocol), table), np.random.default_rng(0))
    env = TabularQFollower(
        MatrixGame(game, 4, memory, -2.5), n_q_episodes=5, alpha=0.3, gamma=0.9, epsilon=0.0, q_init_zero=True
    )
    observations, _ = env.reset()
    for _ in range(20):
        observations, _, _, _ = env.step({LEADER: int(table[observations[LEADER]])})
    assert np.array_equal(env.q_table, oracle.values)


def test_param_noise_explores():
    table = TabularQOracle(episodes=200, epsilon=1.0, param_noise=True, zero=True)
    table.respond(access(ONE_SHOT, np.array([0])), np.random.default_rng(0))
    assert np.all(table.values[0, :2] > 0.5)


@pytest.mark.parametrize("memory", ["3-state", "5-state"])
def test_learning_oracles_best_respond_in_the_repeated_dilemma(memory):
    """Against tit-for-tat. What the three-state follower sees is no state, so Q-learning fails there."""
    game = repeated(named_game("prisoners_dilemma"), Protocol(memory, 5))
    tit_for_tat = np.array([0, 0, 1] if memory == "3-state" else [0, 0, 0, 1, 1])
    best = best_response(game, tit_for_tat).returns[1]
    earned = []
    for oracle in (
        PolicyGradientOracle(60, 8),
        EvolutionOracle(20, 8),
        TabularQOracle(400, gamma=0.9, epsilon=0.5),
    ):
        follower = oracle.respond(access(game, tit_for_tat), np.random.default_rng(3))
        play = access(game, tit_for_tat).reward_game()
        while not play.over:
            play.step(int(follower[play.observation].argmax()))
        earned.append(play.returns[1])
    assert [value == best for value in earned] == [True, True, memory == "5-state"]


def test_policy_gradient_is_the_derivative_of_its_loss():
    rng = np.random.default_rng(0)
    logits, seen, done, paid = rng.normal(size=(3, 2)), [0, 2, 2, 1], [1, 0, 1, 1], [1.0, -2.0, 0.5, 3.0]

    def loss(at):
        return -np.mean(np.log(softmax(at)[seen, done]) * paid)

    expected = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-6
        expected[index] = (loss(logits + step) - loss(logits - step)) / 2e-6
    assert np.allclose(policy_gradient(logits, seen, done, paid), expected, atol=1e-8)


def test_centred_ranks():
    assert centred_ranks([3.0, 1.0, 2.0]).tolist() == [0.5, -0.5, 0.0]
    assert centred_ranks([1.0, 1.0]).tolist() == [0.0, 0.0]


def test_endless_game_stops_at_random_and_means_the_discounted_return():
    rng = np.random.default_rng(4)
    game = MarkovGame(rng.integers(0, 4, (2, 2, 2, 2)), rng.dirichlet([1, 1], (2, 2, 2)), discount=0.7)
    leader = np.array([0, 1])
    best = best_response(game, leader)
    plays = []
    for seed in range(3000):
        play = access(game, leader, seed=seed).reward_game()
        while not play.over:
            play.step(int(best.follower[play.observation]))
        plays.append(play.returns)
    plays = np.array(plays)
    assert np.all(np.abs(plays.mean(axis=0) - best.returns) < 4 * plays.std(axis=0) / np.sqrt(len(plays)))
    with pytest.raises(RuntimeError, match="over"):
        play.step(0)


def test_pretrained_contextual_follower_is_certified():
    """The paper's oracle, in three states: best-responds to all eight leaders after pre-training, to few before."""
    trained = ContextualOracle.pretrain(DILEMMA, iterations=150)
    assert not trained.regret(DILEMMA).any()
    trained.certify(DILEMMA)
    with pytest.raises(UserError, match="not certified: it loses .* against the leader"):
        ContextualOracle.pretrain(DILEMMA, iterations=1).certify(DILEMMA)
    one_query = ContextualOracle(np.ones((2, 3), int), queries=(1,))
    # Always defecting is wrong against tit-for-tat and suspicious tit-for-tat only.
    assert one_query.regret(DILEMMA).tolist() == [0, 3, 0, 0, 0, 3, 0, 0]
    referee = follower_regret(
        named_game("prisoners_dilemma"), Protocol("3-state", 5, queries=(1,)), one_query.table
    )
    assert np.array_equal(referee.regret, one_query.regret(DILEMMA))


def test_contextual_follower_of_an_endless_game():
    rng = np.random.default_rng(0)
    game = MarkovGame(rng.integers(0, 6, (2, 2, 3, 2)), rng.dirichlet([0.5] * 2, (2, 2, 3)), discount=0.6)
    assert ContextualOracle.pretrain(game, iterations=150).regret(game).sum() == 0


def test_wrong_tables_and_counts_are_refused():
    with pytest.raises(UserError, match="needs 8 contexts"):
        ContextualOracle(np.zeros((4, 3), int)).respond(
            access(DILEMMA, np.zeros(3, int)), np.random.default_rng(0)
        )
    with pytest.raises(UserError, match="episodes must be a whole number"):
        TabularQOracle(episodes=0)
    assert ContextualOracle(np.zeros((2, 3), int), queries=(1,)).respond(
        access(DILEMMA, np.zeros(3, int)), np.random.default_rng(0)
    ).shape == (3, 2)
