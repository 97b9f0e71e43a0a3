"""The league's games: the published agents' returns, seats, memories, and one program per kind of pair."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from loqa.coin.game import CoinGame
from loqa.league import loaders, play
from loqa.league.agents import Agent, RecurrentPolicy, league_order, scripted_agents
from loqa.league.mfos import MfosPolicy

GAME = CoinGame(3, 3)


def _player(name: str, folder: Path) -> Agent:
    """A player of `trained_matches.json` by its name there: AD, AC or KIND(file)."""
    if found := re.fullmatch(r"(LOQA|POLA)\((\w+)\)", name):
        return loaders.load_agent(folder / f"trained_{found[1].lower()}_{found[2]}.npz", name, GAME)
    (agent,) = [agent for agent in scripted_agents(GAME) if agent.family == name]
    return agent


@pytest.mark.golden("trained_matches*.json")
def test_published_matches(case):
    """256 games of 50 steps: every return within three standard errors and 0.01 of the original's."""
    for title, match in json.loads(case.read_text())["matches"].items():
        one, other = title.split(" vs ")
        pair = _player(one, case.parent), _player(one if other == "itself" else other, case.parent)
        (report,) = play.play_pairs(GAME, [pair], seed=2, batch=256, steps=50, lanes=1)
        for name, ours in {
            "mean_reward": report.statistics.mean_rewards,
            "own_pickup_rate": report.statistics.own_pickup_div_timesteps,
            "adversarial_pickup_rate": report.statistics.adversarial_pickup_div_timesteps,
        }.items():
            tolerance = 3 * np.array(match["standard_error"]) + 0.01
            assert (np.abs(ours - match[name]) <= tolerance).all(), f"{title}: {name} {ours}, {match[name]}"
        np.testing.assert_allclose(report.standard_error, match["standard_error"], rtol=0.35, atol=2e-4)


def _scripted(family):
    return next(agent for agent in scripted_agents(GAME) if agent.family == family)


def test_results_follow_from_the_episodes():
    pair = _scripted("AD"), _scripted("AC")
    (report,) = play.play_pairs(GAME, [pair], seed=5, batch=8, steps=12, lanes=1)
    rewards = report.episodes.rewards
    assert rewards.shape == (12, 8, 2) and report.episodes.states.coin.shape == (13, 8)
    np.testing.assert_allclose(report.statistics.mean_rewards, rewards.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(report.standard_error, rewards.mean(0).std(0, ddof=1) / np.sqrt(8), rtol=1e-5)
    _, paid = jax.vmap(jax.vmap(GAME.play))(
        jax.tree.map(lambda leaf: leaf[:-1], report.episodes.states),
        report.episodes.actions,
        jnp.zeros((12, 8)),
    )
    np.testing.assert_array_equal(paid, rewards)


def test_seats_are_told_apart():
    """Against itself reversed: what always-defect takes from always-cooperate does not depend on its seat."""
    one, other = _scripted("AD"), _scripted("AC")
    reports = play.play_pairs(GAME, [(one, other), (other, one)], seed=0, batch=64, steps=40, lanes=2)
    np.testing.assert_allclose(
        reports[0].statistics.mean_rewards, reports[1].statistics.mean_rewards[::-1], atol=0.06
    )
    assert reports[0].statistics.mean_rewards[0] > 0.5 > -0.1 > reports[0].statistics.mean_rewards[1]


def test_lanes_do_not_see_each_other():
    one, other, third = scripted_agents(GAME)
    alone = play.play_pairs(GAME, [(one, other)], seed=1, batch=4, steps=6, lanes=3)
    among = play.play_pairs(
        GAME, [(third, one), (one, other), (other, other)], seed=1, batch=4, steps=6, lanes=3
    )
    assert len(alone) == 1
    jax.tree.map(np.testing.assert_array_equal, alone[0], among[1])


def test_one_program_per_kind_of_pair():
    agents = scripted_agents(GAME)
    pairs = [(one, other) for one in agents for other in agents]
    before = play._episodes._cache_size()
    for pair in pairs:
        play.play_pairs(GAME, [pair], seed=3, batch=3, steps=3, lanes=2)
    assert play._episodes._cache_size() == before + 1
    assert len({agent.signature() for agent in agents}) == 1


def test_random_is_uniform_and_scripts_break_ties_at_every_step():
    (random_report,) = play.play_pairs(
        GAME, [(_scripted("Random"),) * 2], seed=0, batch=64, steps=50, lanes=1
    )
    counts = np.bincount(random_report.episodes.actions.ravel(), minlength=4)
    assert (np.abs(counts / counts.sum() - 0.25) < 0.02).all()
    (report,) = play.play_pairs(
        GAME, [(_scripted("AC"), _scripted("Random"))], seed=0, batch=64, steps=50, lanes=1
    )
    assert report.statistics.adversarial_pickup_div_timesteps[0] == 0


def _mfos(arrays, carried):
    return Agent("m", "M-FOS", MfosPolicy(carried=carried), arrays)


def test_memory_is_reset_between_games_unless_carried(mfos_arrays):
    """With a memory that is carried, a game depends on those before it; without, on its own key only."""
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    mfos_arrays["policy.weight"] *= 30  # so that what it remembers decides what it does
    params = mfos_arrays, np.int32(2)
    scripted_policy = _scripted("Random").policy

    def chance(keys):
        return play.draw_chance(GAME, (MfosPolicy(), scripted_policy), keys, 20)

    def actions(carried, keys):
        policies = MfosPolicy(carried=carried), scripted_policy
        return play.play_in_turn(GAME, policies, params, chance(keys)).actions

    fresh = MfosPolicy(), scripted_policy
    together, _ = play.play(GAME, fresh, params, play.start(fresh, params, 3), chance(keys))
    np.testing.assert_array_equal(actions(False, keys), together.actions)
    carried = actions(True, keys)
    np.testing.assert_array_equal(carried[:, 0], together.actions[:, 0])
    assert (carried[:, 1:] != together.actions[:, 1:]).any()
    (report,) = play.play_pairs(GAME, [(_mfos(mfos_arrays, True), _scripted("AC"))], 0, 3, 5, 1)
    assert report.episodes.actions.shape == (5, 3, 2)


def test_league_order():
    def agent(family):
        return Agent(family.lower(), family, RecurrentPolicy(), ())

    mixed = ["AC", "M-FOS", "AA", "POLA", "Random", "LOQA-noSP", "LOQA", "AD", "LOQA-noRB"]
    ordered = [one.family for one in league_order([agent(family) for family in mixed])]
    assert ordered == ["LOQA", "POLA", "LOQA-noRB", "LOQA-noSP", "AA", "M-FOS", "AD", "AC", "Random"]
