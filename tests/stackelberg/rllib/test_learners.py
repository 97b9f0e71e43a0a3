"""Connectors and losses on the original's recorded cases, from whole episodes to the table after each Adam step."""

import json

import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from stackerlberg.experiments import catalogue
from stackerlberg.rllib import cluster
from stackerlberg.rllib.algorithms import centred_ranks
from stackerlberg.rllib.connectors import CollectSteps, DropHidden, RewardToGo
from stackerlberg.rllib.learners import minibatches
from stackerlberg.rllib.setting import Setting

AGENT, CLOSE = "agent_0", {"atol": 1e-5, "rtol": 1e-5}


def episode_of(obs, actions, rewards, hidden=0, agent=AGENT):
    """A finished episode of one agent, its first `hidden` steps hidden."""
    infos = [{agent: {"hidden": True} if t < hidden else {}} for t in range(len(obs) + 1)]
    seen = [{agent: o} for o in [*obs, obs[-1]]]
    return MultiAgentEpisode(
        observations=seen,
        actions=[{agent: a} for a in actions],
        rewards=[{agent: r} for r in rewards],
        infos=infos,
        terminateds={agent: True, "__all__": True},
        truncateds={agent: False, "__all__": False},
        len_lookback_buffer=0,
        agent_module_ids={agent: agent},
        observation_space={agent: spaces.Discrete(99)},
        action_space={agent: spaces.Discrete(2)},
    ).to_numpy()


def learner_of(case, algorithm, **settings):
    """The engine's learner for spaces of the case's sizes, with the case's table."""
    cluster.quiet()
    words = {"leader_algorithm": algorithm, "leader_config.lr": case["lr"]} | settings
    experiment = catalogue.resolve("smipd_nothiddenqueries_pg_pg", list(words.items()))
    config = Setting(experiment.conditions[0].configuration).config_for(AGENT)
    pair = spaces.Discrete(case["n_obs"]), spaces.Discrete(2)
    frozen = {agent: pair for agent in config.policies}
    learner = config.build_learner(spaces=frozen)
    learner.build()
    with torch.no_grad():
        learner.module[AGENT].layers[0].weight.copy_(torch.tensor(case["W0"]))
        if hasattr(learner.module[AGENT], "value"):
            learner.module[AGENT].value.weight.copy_(torch.tensor(case["V0"]))
    return learner


def cases_of(case, kind):
    return json.loads(case.read_text("utf-8")).get(kind, [])


def episodes_of(recorded):
    return [episode_of(e["obs"], e["actions"], e["rewards"]) for e in recorded["episodes"]]


@pytest.mark.golden("loss_cases*.json")
def test_pg_updates_a_table_as_the_original(case):
    for recorded in cases_of(case, "pg"):
        learner = learner_of(recorded, "PG")
        for step in recorded["adam_steps"]:
            learner.update(episodes=episodes_of(recorded), timesteps={})
            np.testing.assert_allclose(learner.statistics(AGENT)["policy_loss"], step["loss"], **CLOSE)
            table = learner.module[AGENT].layers[0].weight.detach().numpy()
            np.testing.assert_allclose(table, step["weights_after"], **CLOSE)


@pytest.mark.golden("loss_cases*.json")
def test_ppo_updates_its_tables_as_the_original(case):
    for recorded in cases_of(case, "ppo"):
        size = sum(len(e["obs"]) for e in recorded["episodes"])
        steps = recorded["full_batch_adam_steps"]
        settings = {
            "leader_config.sgd_minibatch_size": size,
            "leader_config.num_sgd_iter": len(steps),
            "leader_config.clip_param": recorded["clip_param"],
            "leader_config.vf_clip_param": recorded["vf_clip_param"],
            "leader_config.kl_coeff": recorded["kl_coeff"],
            "leader_config.entropy_coeff": recorded["entropy_coeff"],
        }
        learner = learner_of(recorded, "PPO", **settings)
        learner.update(episodes=episodes_of(recorded), timesteps={})
        assert len(learner.parts[AGENT]) == len(
            steps
        )  # whole epochs: no bootstrap rows, nothing cut across them
        for found, step in zip(learner.parts[AGENT], steps, strict=True):
            for name in ("total_loss", "policy_loss", "vf_loss", "kl", "entropy"):
                np.testing.assert_allclose(found[name], step[name], err_msg=name, **CLOSE)
        np.testing.assert_allclose(learner.module[AGENT].layers[0].weight.detach(), steps[-1]["W"], **CLOSE)
        np.testing.assert_allclose(learner.module[AGENT].value.weight.detach(), steps[-1]["V"], **CLOSE)


@pytest.mark.golden("loss_cases*.json")
def test_simple_q_updates_a_table_as_the_original(case):
    for recorded in cases_of(case, "simple_q"):
        learner = learner_of(recorded, "SimpleQ")
        with torch.no_grad():
            learner.targets[AGENT].layers[0].weight.copy_(torch.tensor(recorded["W_target"]))
        columns = {
            Columns.OBS: np.array(recorded["obs"]),
            Columns.NEXT_OBS: np.array(recorded["next_obs"]),
            Columns.ACTIONS: np.array(recorded["actions"]),
            Columns.REWARDS: np.array(recorded["rewards"], np.float32),
            Columns.TERMINATEDS: np.array(recorded["dones"], bool),
        }
        batch = MultiAgentBatch({AGENT: SampleBatch(columns)}, env_steps=len(recorded["obs"]))
        for step in recorded["adam_steps"]:
            learner.update(batch=batch, timesteps={"sampled": 0})
            np.testing.assert_allclose(learner.statistics(AGENT)["loss"], step["loss"], **CLOSE)
            table = learner.module[AGENT].layers[0].weight.detach().numpy()
            np.testing.assert_allclose(table, step["W"], **CLOSE)


@pytest.mark.golden("loss_cases*.json")
def test_centred_ranks_are_the_originals(case):
    recorded = json.loads(case.read_text("utf-8")).get("es")
    if recorded:
        found = centred_ranks(np.array(recorded["centered_ranks_in"]))
        np.testing.assert_allclose(found, recorded["centered_ranks_out"], **CLOSE)


def test_hidden_queries_leave_after_their_part_in_the_returns():
    """13 episodes of 3 queries and 5 steps: 104 rows, or 65 with the queries hidden (spec 5.3)."""
    actions, rewards = [0, 1] * 4, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    for hidden, rows in ((0, 104), (3, 65)):
        episodes = [episode_of([0, 1, 2, 0, 1, 2, 1, 2], actions, rewards, hidden)] * 13
        batch = CollectSteps(AGENT)(batch={}, episodes=episodes)
        batch = DropHidden()(batch=RewardToGo()(batch=batch))
        columns = {name: np.concatenate(arrays) for name, arrays in batch[AGENT].items()}
        assert {len(column) for column in columns.values()} == {rows}
        first = columns[Columns.RETURNS_TO_GO][: rows // 13]
        np.testing.assert_array_equal(first, [15, 15, 15, 15, 14, 12, 9, 5][hidden:])


def test_minibatches_with_and_without_the_remainder():
    assert list(minibatches(1005, 1000, 30, False)) == [None] * 30
    np.random.seed(0)
    cuts = list(minibatches(1005, 1000, 30, True))
    assert sorted(len(cut) for cut in cuts) == [5] * 30 + [1000] * 30
    places = [len(cuts[2 * k]) for k in range(30)]
    assert {5, 1000} == set(places)  # the rest comes first in some epochs, last in others
    assert len(torch.cat(cuts[:2]).unique()) == 1005
    assert [len(cut) for cut in minibatches(2500, 1000, 1, False)] == [1000, 1000]
