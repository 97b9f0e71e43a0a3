"""`from stackerlberg import ...`: games that are not in the paper, solved exactly and by learning."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stackerlberg
from common.cli import UserError
from stackerlberg import (
    Conditions,
    EvolutionOracle,
    ExactOracle,
    Game,
    MarkovGame,
    PolicyGradientOracle,
    Protocol,
    TabularQOracle,
    ablate,
    best_response,
    library,
    markov_returns,
    named_game,
    repeated,
    solve,
)
from stackerlberg.exact import enumerate_leaders, one_shot, policy_returns, time_aware_returns
from stackerlberg.protocol import all_tables

# Row 0 dominates for the leader and leads to 2; committed to row 1, it gets 3.
MARKET = Game.from_bimatrix(
    leader=[[2, 4, 1], [1, 3, 0], [0, 2, 2]], follower=[[2, 1, 0], [0, 2, 1], [1, 0, 3]], name="market"
)
ENTRY = np.array(
    [
        [[[1, 1], [0, 2]], [[3, 0], [2, 1]]],
        [[[2, 3], [4, 0]], [[1, 1], [0, 2]]],
        [[[0, 0], [1, 4]], [[2, 2], [5, 0]]],
    ]
)


def entry_game(**settings) -> MarkovGame:
    """Three states; whoever cooperates moves the market on, with some luck."""
    transitions = np.random.default_rng(7).dirichlet([0.4] * 3, (3, 2, 2))
    return MarkovGame(ENTRY, transitions, **settings)


def test_public_names():
    assert all(hasattr(stackerlberg, name) for name in stackerlberg.__all__)


def test_the_documented_examples_run(capsys):
    """The indented lines of the module's docstring, in one go."""
    text = library.__doc__.splitlines()
    exec("\n".join(line.removeprefix("    ") for line in text if line.startswith("    ")), {})
    exact, learnt, markov = capsys.readouterr().out.splitlines()
    assert exact == learnt == "leader [1] earns 3 (best possible 3); follower [1] earns 2 and regrets 0"
    earned, best = re.match(r"leader .* earns (\S+) \(best possible (\S+)\)", markov).groups()
    assert earned == best and markov.endswith("regrets 0")


@pytest.mark.parametrize("page", ["stackelberg/README.md", "README.md"])
def test_the_readmes_example_runs(page, capsys):
    """What its last comment says of both solutions is what they print."""
    readme = (Path(__file__).resolve().parents[2] / page).read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)
    exec(example, {})
    claimed = example.splitlines()[-1].removeprefix("# both: ")
    assert capsys.readouterr().out.splitlines() == [claimed, claimed]


def test_three_by_three_exactly():
    found = solve(MARKET)
    assert found.leader.tolist() == [1] and (found.value, found.follower_value) == (3, 2)
    assert one_shot(MARKET).nash[0] == (0, 0)
    # Mixing: row 0 with probability p as long as column 1 stays a best response, 2p <= p + 2 (1 - p).
    mixed = one_shot(MARKET).mixed
    assert mixed.leader == pytest.approx([2 / 3, 1 / 3, 0]) and mixed.leader_value == pytest.approx(11 / 3)
    assert "earns 3 (best possible 3)" in str(found)


@pytest.mark.parametrize(
    "oracle",
    [None, TabularQOracle(episodes=40, epsilon=1.0), PolicyGradientOracle(10, 4), EvolutionOracle(6, 4)],
    ids=["exact", "tabular q", "policy gradient", "evolution"],
)
def test_three_by_three_learnt(oracle):
    found = solve(MARKET, method="pg", oracle=oracle, iterations=40, episodes=8, lr=0.2, seed=1)
    assert found.leader.tolist() == [1] and found.value == found.best_value == 3
    assert found.regret == 0 and found.violated == () and found.curve[-5:].mean() > 2.5
    queries, game = found.steps
    assert game == 40 * 8 and queries >= game


def test_repeated_game_with_three_actions_and_an_asymmetric_one():
    protocol = Protocol("3-state", 4, reward_offset=0)
    found = solve(MARKET, protocol=protocol)
    assert found.value == enumerate_leaders(MARKET, protocol).optimum().value >= 4 * 3
    uneven = Game.from_bimatrix([[1, 5, 0], [2, 0, 3]], [[2, 1, 4], [0, 3, 1]])
    assert solve(uneven, protocol=protocol).value == enumerate_leaders(uneven, protocol).optimum().value


def brute_force(game: MarkovGame) -> float:
    """The best leader table by trying every pair of tables, the follower's first best reply counting."""
    best = -np.inf
    for leader in all_tables(3, 2):
        returns = [markov_returns(game, leader, follower) for follower in all_tables(3, 2)]
        best = max(best, returns[int(np.argmax([own for _, own in returns]))][0])
    return best


@pytest.mark.parametrize("settings", [{"horizon": 5}, {"discount": 0.8}, {"horizon": 3, "discount": 0.9}])
def test_markov_game_exactly_and_learnt(settings):
    game = entry_game(**settings)
    exact = solve(game)
    assert exact.value == pytest.approx(brute_force(game))
    assert exact.value == pytest.approx(markov_returns(game, exact.leader, exact.follower)[0])
    learnt = solve(game, method="pg", iterations=80, episodes=16, lr=0.1)
    assert learnt.value == pytest.approx(exact.value) and learnt.best_value == pytest.approx(exact.value)


def test_markov_follower_with_a_clock():
    game = entry_game(horizon=4)
    for leader in all_tables(3, 2):
        clock, table = best_response(game, leader, clock=True), best_response(game, leader)
        assert clock.returns[1] >= table.returns[1] - 1e-9
    found = solve(game, oracle=ExactOracle(clock=True))
    assert found.follower.shape == (4, 3, 2)
    learnt = solve(game, method="pg", oracle=ExactOracle(clock=True), iterations=60, lr=0.1)
    assert learnt.value == pytest.approx(found.value) and learnt.regret == pytest.approx(0, abs=1e-9)


@settings(max_examples=25)
@given(
    st.integers(0, 9999),
    st.sampled_from(["none", "3-state", "5-state"]),
    st.sampled_from(["optimistic", "pessimistic"]),
)
def test_a_repeated_game_is_a_markov_game(seed, memory, ties):
    """Two independent calculations of returns and best responses agree."""
    rng = np.random.default_rng(seed)
    game, protocol = Game("random", rng.integers(0, 5, (2, 2, 2))), Protocol(memory, 3)
    markov = repeated(game, protocol)
    n_leader, n_follower = protocol.observation_counts(game.actions)
    leader, follower = rng.dirichlet([1, 1], n_leader), rng.dirichlet([1, 1], n_follower)
    assert np.allclose(
        markov_returns(markov, leader, follower), policy_returns(game, protocol, leader, follower)
    )
    table = rng.integers(0, 2, n_leader)
    found = enumerate_leaders(game, protocol)
    row = int(protocol.context_code(table, game.actions))
    response = best_response(markov, table, ties)
    assert response.returns == (found.leader_returns(ties)[row], found.responses.follower_return[row])
    if memory == "5-state":
        clock = best_response(markov, table, ties, clock=True)
        expected = time_aware_returns(game, protocol, table)
        assert np.allclose(clock.returns, [expected[1 if ties == "optimistic" else 2], expected[0]])


def test_endless_ties_follow_the_rule():
    """Two follower actions are worth the same to it; the leader's return depends on the rule alone."""
    payoffs = np.array([[[[0, 1], [5, 1]]]])
    game = MarkovGame(payoffs, np.ones((1, 1, 2, 1)), discount=0.5)
    returns = {
        ties: best_response(game, [0], ties).returns
        for ties in ("lexicographic", "optimistic", "pessimistic")
    }
    assert returns == {"lexicographic": (0, 2), "optimistic": (10, 2), "pessimistic": (0, 2)}


def test_breaking_a_condition_shows():
    """A leader that may answer otherwise than it plays earns more than the Stackelberg value (spec 8.6)."""
    game, protocol = named_game("prisoners_dilemma"), Protocol("3-state", 5)
    common = {"protocol": protocol, "method": "pg", "iterations": 150, "episodes": 13, "lr": 0.1}
    told = solve(game, conditions=Conditions(phase_aware=True), **common)
    assert told.violated == ("phase_aware",) and told.value > told.best_value == 3.5 and told.regret > 0
    assert solve(game, **common).value == 3.5


def test_the_ablation_grid_is_one_call():
    """The prisoner's dilemma: hidden queries lose, a told leader earns more than the Stackelberg value.

    The exact oracle learns nothing, so what it carries and what it pays while learning changes nothing.
    """
    grid = ablate(
        named_game("prisoners_dilemma"), protocol=Protocol("3-state", 5), iterations=50, episodes=13, lr=0.2
    )
    assert [solution.violated for solution in grid.values()] == [(), *((name,) for name in list(grid)[1:])]
    assert grid["none"].value == grid["none"].best_value == 3.5
    assert grid["hidden_queries"].value < 0 and grid["phase_aware"].value == 7.5
    for name in ("carried_state", "reward_out_of_equilibrium"):
        assert np.array_equal(grid[name].curve, grid["none"].curve)


def test_seeds_repeat_and_differ():
    runs = [solve(MARKET, method="pg", iterations=5, episodes=4, seed=seed).curve for seed in (3, 3, 4)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve(MARKET, method="dqn"), "unknown method 'dqn'; there are exact, pg"),
        (lambda: solve(MARKET, oracle=TabularQOracle()), "use method='pg'"),
        (lambda: solve("chicken"), "needs a Game or a MarkovGame, not str"),
        (lambda: solve(MARKET, protocol=Protocol(hidden_queries=True)), "as its Conditions"),
        (lambda: solve(entry_game(horizon=2), protocol=Protocol()), "leave the protocol out"),
        (lambda: solve(MARKET, protocol=Protocol(n_samples=2)), "chooses its own queries"),
        (lambda: solve(MARKET, protocol=Protocol("5-state", 10)), "too many to enumerate"),
        (lambda: solve(MARKET, method="pg", iterations=0), "iterations must be a whole number"),
        (lambda: solve(MARKET, method="pg", lr=-1), "lr must be positive"),
        (lambda: MarkovGame(np.zeros((2, 2, 2)), np.zeros((2, 2, 2, 2))), r"shape \[states, A0, A1, 2\]"),
        (lambda: MarkovGame(ENTRY, np.full((3, 2, 2, 3), 0.5), horizon=2), "probabilities that sum to 1"),
        (lambda: entry_game(), "gives no finite return"),
        (lambda: entry_game(horizon=0), "horizon must be"),
        (lambda: entry_game(horizon=2, start=[1, 0]), r"start must be \[3\]"),
        (lambda: entry_game(horizon=2, views=[[0, 0]]), r"views must be \[3, 2\]"),
        (lambda: best_response(entry_game(discount=0.5), [0, 0, 0], clock=True), "endless"),
        (lambda: best_response(entry_game(discount=0.5, views=[[0, 0]] * 3), [0]), "sees the state"),
        (lambda: best_response(entry_game(horizon=2), [0, 0, 0], "random"), "unknown tie rule"),
        (
            lambda: MarkovGame(np.where(ENTRY == 4, np.nan, ENTRY), np.ones((3, 2, 2, 3)) / 3, horizon=2),
            "is nan",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(UserError, match=message):
        call()
