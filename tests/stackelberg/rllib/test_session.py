"""A session that is taken up from its arrays goes on as if nothing had happened; who acts how; random leaders."""

import numpy as np
import pytest
import torch

from stackerlberg.experiments import catalogue
from stackerlberg.rllib.algorithms import POPULATION
from stackerlberg.rllib.environment import EpisodeEnv
from stackerlberg.rllib.session import Session
from stackerlberg.rllib.setting import Setting

PPO = {
    "leader_config.train_batch_size": 30,
    "leader_config.sgd_minibatch_size": 20,
    "leader_config.num_sgd_iter": 2,
    "leader_config.minibatch_remainder": True,
    "common_config.env_config.matrix_name": "stag_hunt",
}
CARRIED = {"common_config.env_config.reset_between_episodes": False, "leader_config.train_batch_size": 22}
CASES = {
    "ipd_allmatrices_ppo_pg": PPO,
    "smipd_hiddenqueries_dqn_pg": {"inner_iterations_follower": 1},
    "bots_pg_tabularq": CARRIED,
    "smipd_es_pg_new": {
        "leader_config.episodes_per_batch": 6,
        "common_config.env_config.hidden_queries": True,
    },
}


def condition_of(name, **settings):
    return catalogue.resolve(name, list(settings.items())).conditions[0]


@pytest.mark.parametrize("name", CASES)
def test_taken_up_at_any_row_it_gives_the_same_rows(name, small, ray_here):
    settings = {
        key: value for key, value in small.items() if "tabularq" not in name or key[:3] not in ("pre", "pos")
    }
    condition = condition_of(name, **settings | {"outer_iterations": 3} | CASES[name])
    whole = Session(condition, 1, log_every=1)
    rows, kept = [], []
    while not whole.done:
        rows.append(whole.run())
        kept.append(whole.arrays())
    whole.close()
    at = len(rows) - 2 if whole.blocks[-1].phase == 1 else len(rows) - 3
    other = Session(condition, 1, log_every=1)
    other.restore(kept[at - 1])
    again = []
    while not other.done:
        again.append(other.run())
    other.close()
    assert again == rows[at:]


def test_every_episode_of_a_population_is_played_by_its_own_policy(ray_here):
    condition = condition_of(
        "smipd_es_pg_new",
        **{"leader_config.episodes_per_batch": 8, "common_config.env_config.hidden_queries": True},
    )
    setting = Setting(condition.configuration)
    trainer = setting.trainer_for("agent_0")
    module = trainer.acting()
    tables = np.indices((2, 2, 2)).reshape(3, 8).T  # one deterministic leader per environment
    module.behaviour = POPULATION
    module.population = torch.tensor(np.stack([50.0 * (tables == 0), 50.0 * (tables == 1)], axis=1)).float()
    for table, episode in zip(tables, trainer.sample(8), strict=True):
        own = episode.agent_episodes["agent_0"]
        np.testing.assert_array_equal(own.get_actions(), table[own.get_observations()[:-1]])
    trainer.stop()


def test_random_leaders_are_uniform():
    """The eight tables of a 3-state leader; chi-square with 7 degrees of freedom, p > .001 below 24.3."""
    condition = condition_of("smipd_nothiddenqueries_pg_pg").configuration
    env = EpisodeEnv(
        {"factory": condition.env, **condition.env_config, "random_leader": {"deterministic": True}}
    )
    np.random.seed(5)
    counts = np.bincount([env.reset()[0]["agent_1"] % 8 for _ in range(4000)], minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3


def test_the_leaders_return_is_known_though_it_is_inside():
    condition = condition_of("smipd_nothiddenqueries_pg_pg").configuration
    env = EpisodeEnv(
        {"factory": condition.env, **condition.env_config, "random_leader": {"deterministic": True}}
    )
    np.random.seed(0)
    seen, _ = env.reset()
    over = {"__all__": False}
    while not over["__all__"]:
        seen, _, over, _, infos = env.step({"agent_1": 0})
    # against a follower that always plays its first action, the leader earns 4 or 3 per step, less 2.5
    inside = infos["agent_1"]["returns_inside"]["agent_0"]
    assert inside in [sum(4 - 2.5 if k < first else 3 - 2.5 for k in range(5)) for first in range(6)]


def test_the_follower_of_dictionaries_sees_sorted_one_hots():
    condition = condition_of("smipd_dqn_pg_nondiscrete_pretrain").configuration
    env = EpisodeEnv(
        {"factory": condition.env, **condition.env_config, "random_leader": {"deterministic": True}}
    )
    seen, _ = env.reset()
    assert seen["agent_1"].shape == (9,) and seen["agent_1"].sum() == 4 and seen["agent_1"][0] == 1


@pytest.mark.parametrize(
    ("factory", "config"),
    [
        (
            "repeated_matrix_game_stackelberg_observed_queries",
            {"hypernetwork": True, "small_memory": True, "episode_length": 3},
        ),
        ("matrix_game_stackelberg_observed_queries", {"mixed_strategies": True}),
        ("matrix_game_stackelberg_learning_dynamics", {"n_follower_episodes": 6, "n_reward_episodes": 2}),
        ("repeated_matrix_game", {"episode_length": 3}),
    ],
    ids=["hypernetwork", "mixed strategies", "learning dynamics", "no queries"],
)
def test_what_the_batched_engine_refuses_runs_here(factory, config, small, ray_here):
    own = {"common_config.env": factory, "common_config.env_config": config, "randomize_leader": False}
    session = Session(condition_of("smipd_nothiddenqueries_pg_pg", **small | own), 0, log_every=2)
    rows = []
    while not session.done:
        rows.append(session.run())
    session.close()
    assert [row["phase"] for row in rows] == [0, 1, 2]
    evaluated = rows[1]["leader_results/evaluation/policy_reward_mean/agent_0"]
    assert np.isfinite(evaluated) and rows[1]["leader_results/timesteps_total"] > 0
