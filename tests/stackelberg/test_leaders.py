"""Leaders written by hand: their tables, their exact values, and what they earn when they are played."""

import numpy as np
import pytest
from scipy.stats import chi2

from common.cli import UserError
from stackerlberg import (
    Conditions,
    ContextualOracle,
    Game,
    MarkovGame,
    Protocol,
    TabularQOracle,
    evaluate,
    leaders,
    named_game,
    repeated,
    solve,
)
from stackerlberg.exact import enumerate_leaders, exact_followers
from stackerlberg.leaders import Leader

DILEMMA = named_game("prisoners_dilemma")
SMALL, JOINT = Protocol("3-state", 5), Protocol("5-state", 10)


def tables(leader) -> list[list[int]]:
    """Its policies, all of them deterministic."""
    assert set(np.unique(leader.policies)) <= {0, 1}
    return leader.policies.argmax(-1).tolist()


@pytest.mark.parametrize(
    ("protocol", "copies", "suspicious"),
    [(SMALL, [0, 0, 1], [1, 0, 1]), (JOINT, [0, 0, 0, 1, 1], [1, 0, 0, 1, 1])],
)
def test_tables_are_the_specifications(protocol, copies, suspicious):
    """Copies 0 at observations up to 1 (3-state) or 2 (5-state)."""
    n = len(copies)
    assert tables(leaders.tit_for_tat(DILEMMA, protocol)) == [copies]
    assert tables(leaders.one_of_four(DILEMMA, protocol)) == [[0] * n, [1] * n, copies, suspicious]
    assert tables(leaders.one_of_constants(DILEMMA, protocol)) == [[0] * n, [1] * n]
    assert sorted(tables(leaders.random_table(DILEMMA, protocol))) == sorted(
        np.indices((2,) * n).reshape(n, -1).T.tolist()
    )
    half = leaders.tit_for_tat_or_one(DILEMMA, protocol, 0.25).policies[0, :, 0]
    assert half.tolist() == [0.25 * (action == 0) for action in copies]


@pytest.mark.parametrize(
    ("leader", "expected"),
    [
        # five steps, 2.5 off each; the follower's best replies are defection, but for the two that copy
        (leaders.constant(DILEMMA, 0, SMALL), (5 * 1 - 12.5, 5 * 4 - 12.5)),
        (leaders.constant(DILEMMA, 1, SMALL), (5 * 2 - 12.5, 5 * 2 - 12.5)),
        (leaders.best_response_to_answer(DILEMMA, 0, SMALL), (-2.5, -2.5)),
        (leaders.tit_for_tat(DILEMMA, SMALL), (5 * 3 - 12.5, 5 * 3 - 12.5)),
        (leaders.tit_for_tat(DILEMMA, SMALL, first=1), (4 + 4 * 3 - 12.5, 1 + 4 * 3 - 12.5)),
        (leaders.one_of_four(DILEMMA, SMALL), ((-7.5 - 2.5 + 2.5 + 3.5) / 4, (7.5 - 2.5 + 2.5 + 0.5) / 4)),
        (leaders.one_of_constants(DILEMMA, SMALL), (-5.0, 2.5)),
        (leaders.tit_for_tat_or_one(DILEMMA, SMALL, 1.0), (2.5, 2.5)),
        (leaders.tit_for_tat_or_one(DILEMMA, SMALL, 0.0), (-2.5, -2.5)),
        # one step: the follower defects whatever the answers; 1 for a 0, 2 for a 1
        (
            leaders.tit_for_tat_or_one(DILEMMA, Protocol("3-state", 1), 0.3),
            (2 - 0.3 - 2.5, 2 + 2 * 0.3 - 2.5),
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Leader) else "",
)
def test_values_by_hand(leader, expected):
    """Against the exact best response, and the same from the library's evaluation."""
    protocol = Protocol("3-state", 1) if "0.3" in leader.name else SMALL
    assert leader.value(DILEMMA, protocol) == pytest.approx(expected)
    found = evaluate(DILEMMA, leader, protocol=protocol, episodes=40)
    assert found.exact == pytest.approx(expected)
    assert np.all(np.abs(found.returns - expected) <= 4 * found.error + 1e-9)


@pytest.mark.parametrize("protocol", [SMALL, JOINT])
def test_a_random_table_is_worth_the_mean_of_all_tables(protocol):
    enumerated = enumerate_leaders(DILEMMA, protocol)
    value = leaders.random_table(DILEMMA, protocol).value(DILEMMA, protocol)
    assert value[0] == pytest.approx(enumerated.leader_returns().mean())
    assert value[1] == pytest.approx(enumerated.responses.follower_return.mean())


def test_a_fresh_table_is_drawn_for_each_episode():
    """Each of the 32 equally often, by episode and in a batch."""
    leader, rng = leaders.random_table(DILEMMA, JOINT), np.random.default_rng(0)
    one_by_one = np.array([leader.draw(rng).argmax(-1) for _ in range(3200)])
    for drawn in (one_by_one, leader.draw_tables(rng, 3200)):
        counts = np.bincount(drawn @ 2 ** np.arange(5), minlength=32)
        assert chi2.sf(((counts - 100.0) ** 2 / 100).sum(), 31) > 1e-3


def test_a_mixed_policy_draws_again_at_every_visit_and_a_lottery_does_not():
    rng = np.random.default_rng(1)
    game = repeated(DILEMMA, SMALL)
    from stackerlberg.oracles import ExactOracle, run_episode

    def acted(leader):
        records = [run_episode(game, leader, ExactOracle(), Conditions(), rng).trajectory for _ in range(60)]
        return [{(o, a) for o, a in zip(r.observations, r.actions, strict=True) if o == 0} for r in records]

    assert all(len(seen) == 1 for seen in acted(leaders.one_of_four(DILEMMA, SMALL)))
    assert any(len(seen) == 2 for seen in acted(leaders.tit_for_tat_or_one(DILEMMA, SMALL, 0.5)))


@pytest.mark.parametrize("consistent", [False, True])
def test_played_against_a_mixed_leader_as_the_referee_says(consistent):
    leader = leaders.mixture(
        "two",
        [leaders.tit_for_tat_or_one(DILEMMA, SMALL, 0.7), leaders.constant(DILEMMA, 0, SMALL)],
        (0.8, 0.2),
    )
    conditions = Conditions(consistent_commitment=consistent)
    found = evaluate(DILEMMA, leader, protocol=SMALL, conditions=conditions, episodes=1500)
    protocol = Protocol("3-state", 5, consistent_commitment=consistent)
    assert found.exact == pytest.approx(leader.value(DILEMMA, protocol))
    assert np.all(np.abs(found.returns - found.exact) < 4 * found.error)


def test_told_the_phase_a_leader_answers_one_thing_and_plays_another():
    suspicious = leaders.tit_for_tat(DILEMMA, SMALL, first=1)
    leader = leaders.told(leaders.constant(DILEMMA, 1, SMALL), suspicious)
    found = evaluate(DILEMMA, leader, protocol=SMALL, conditions=Conditions(phase_aware=True), episodes=3)
    assert found.returns.tolist() == found.exact.tolist() == leader.value(DILEMMA, SMALL).tolist()
    assert found.returns[0] == 7.5 > found.best_value == 3.5
    assert str(found).startswith(
        "always 1, answering as tit-for-tat starting with 1 earns 7.5 +- 0 (best possible 3.5)"
    )


def test_against_a_frozen_follower():
    """The contextual follower that always defects leaves tit-for-tat one betrayal."""
    defects = ContextualOracle(np.ones((8, 3), int))
    found = evaluate(DILEMMA, leaders.tit_for_tat(DILEMMA, SMALL), protocol=SMALL, oracle=defects, episodes=2)
    assert found.returns.tolist() == found.exact.tolist() == [1 + 4 * 2 - 12.5, 4 + 4 * 2 - 12.5]
    exact = exact_followers(DILEMMA, SMALL)
    value = leaders.tit_for_tat(DILEMMA, SMALL).value(DILEMMA, SMALL, np.ones((8, 3), int))
    assert value.tolist() == found.exact.tolist()
    assert leaders.tit_for_tat(DILEMMA, SMALL).value(DILEMMA, SMALL, exact).tolist() == [2.5, 2.5]


def test_against_a_learning_follower():
    """Only played: its follower depends on more than the answers."""
    market = Game.from_bimatrix(
        [[2, 4, 1], [1, 3, 0], [0, 2, 2]], [[2, 1, 0], [0, 2, 1], [1, 0, 3]], name="market"
    )
    oracle = TabularQOracle(episodes=60, epsilon=1.0)
    found = evaluate(market, leaders.constant(market, 1), oracle=oracle, episodes=5)
    assert found.exact is None and found.returns.tolist() == [3, 2] and found.best_value == 3


def test_a_markov_game():
    payoffs = np.arange(16.0).reshape(2, 2, 2, 2)
    game = MarkovGame(payoffs, np.full((2, 2, 2, 2), 0.5), horizon=3)
    found = evaluate(game, leaders.one_of_constants(game), episodes=800)
    assert np.all(np.abs(found.returns - found.exact) < 4 * found.error)
    assert found.best_value == pytest.approx(solve(game).value)


def test_pre_training_against_leaders_written_by_hand():
    """A follower that has met only the four best-responds to them, and the learner still finds the best of them."""
    four, game = leaders.one_of_four(DILEMMA, SMALL), repeated(DILEMMA, SMALL)
    follower = ContextualOracle.pretrain(game, iterations=150, leaders=four)
    regret = follower.regret(game)
    assert regret[[0, 7, 1, 5]].tolist() == [0, 0, 0, 0] and regret.any()
    found = evaluate(DILEMMA, four, protocol=SMALL, oracle=follower, episodes=2)
    assert found.exact == pytest.approx((-1.0, 2.0))


def test_what_can_not_be_is_refused():
    with pytest.raises(UserError, match="actions are 0 to 1; 2 is none of them"):
        leaders.constant(DILEMMA, 2, SMALL)
    with pytest.raises(UserError, match="the follower's actions are 0 to 1"):
        leaders.best_response_to_answer(DILEMMA, -1)
    with pytest.raises(UserError, match="needs a memory"):
        leaders.tit_for_tat(DILEMMA, Protocol("none", 1))
    with pytest.raises(UserError, match="must lie in"):
        leaders.tit_for_tat_or_one(DILEMMA, SMALL, 1.5)
    with pytest.raises(UserError, match="a Markov game has its own observations"):
        leaders.constant(repeated(DILEMMA, SMALL), 0, SMALL)
    with pytest.raises(UserError, match="needs a leader with the follower's 3 actions"):
        leaders.tit_for_tat(Game("wide", np.ones((2, 3, 2))), SMALL)
    with pytest.raises(UserError, match="must be probabilities that sum to 1"):
        Leader("half", np.full((1, 3, 2), 0.4), np.ones(1))
    with pytest.raises(UserError, match=r"policies of shape \[1, 2\]; prisoners_dilemma needs \[3, 2\]"):
        evaluate(DILEMMA, leaders.constant(DILEMMA, 0), protocol=SMALL)
