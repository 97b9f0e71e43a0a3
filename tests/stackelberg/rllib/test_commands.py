"""The README's commands at smoke size on this engine, and what its rows hold."""

import json

import pytest

PPO = {
    "leader_config.rollout_fragment_length": 30,
    "leader_config.train_batch_size": 30,
    "leader_config.sgd_minibatch_size": 30,
    "leader_config.num_sgd_iter": 2,
}
GAME = "common_config.env_config.matrix_name"
MATRIX = "common_config.env_config.matrix"
#: of the README, with the settings that choose one condition of a grid
COMMANDS = {
    "ipd_allmatrices_ppo_pg": PPO | {GAME: "stag_hunt"},
    "ipd_allmatrices_pg_pg": {GAME: "chicken"},
    "smipd_hiddenqueries_pg_pg": {},
    "smipd_nothiddenqueries_pg_pg": {},
    "smipd_hiddenqueries_dqn_pg": {},
    "smipd_nothiddenqueries_dqn_pg": {},
    "smipd_leadermemory_pg_pg": {},
    "smipd_leadernomemory_pg_pg": {},
}
OTHERS = {
    "bots_pg_tabularq": {},
    "bots_dqn_tabularq_out_of_eq": {
        "common_config.env_config.leader_reward_during_q": "true",
        MATRIX: "[[[2,0.001],[0,0]],[[0,0],[1,2]]]",
    },
    "smipd_es_pg_new": {
        "leader_config.episodes_per_batch": 10,
        "common_config.env_config.hidden_queries": "true",
    },
    "matrix_bots": {},
    "smipd_dqn_pg_nondiscrete_pretrain": {},
}
EVALUATION = "leader_results/evaluation/policy_reward_mean/agent_0"


@pytest.mark.parametrize("name", [*COMMANDS, *OTHERS])
def test_the_command_runs(name, run, ray_here, capsys, small, words_of):
    settings = small | {**COMMANDS, **OTHERS}[name]
    if "tabularq" in name:
        settings = {key: value for key, value in settings.items() if not key.startswith(("pre_", "post_"))}
    words = [f"--experiment={name}", "--engine", "rllib", "--no-tune", "--seed", "3", *words_of(settings)]
    asked, rows = run(*words)
    phases = {row["phase"] for row in rows[3]}
    configuration = asked.experiment.conditions[0].configuration
    wanted = {0: configuration.pre_training_iterations, 1: 1, 2: configuration.post_training_iterations}
    assert phases == {phase for phase, count in wanted.items() if count}
    last = next(row for row in reversed(rows[3]) if row["phase"] == 1)
    assert last[EVALUATION] is not None and last["leader_results/timesteps_total"] > 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [{k: v for k, v in row.items() if k != "seed"} for row in printed] == rows[3]


def test_the_same_seed_gives_the_same_rows_and_another_one_others(run, ray_here, tmp_path, small, words_of):
    words = [
        "--experiment=smipd_nothiddenqueries_pg_pg",
        "--engine",
        "rllib",
        "--ray_local_mode",
        *words_of(small),
    ]
    _, first = run(*words, "--seeds", "0-1", root=tmp_path / "a")
    _, second = run(*words, "--seeds", "0-1", root=tmp_path / "b")
    assert first == second
    assert first[0] != first[1]


@pytest.mark.slow
def test_tune_gives_the_rows_of_a_run_without_it(run, ray_here, tmp_path, small, words_of):
    """Two conditions, through Tune's processes."""
    words = [
        "--experiment=smipd_hiddenqueries_pg_pg_new",
        "--engine",
        "rllib",
        "--seed",
        "0",
        *words_of(small),
    ]
    _, tuned = run(*words, root=tmp_path / "a")
    _, plain = run(*words, "--ray_local_mode", root=tmp_path / "b")
    assert tuned == plain
    assert [row["condition"] for row in tuned[0]] == ["hidden_queries=true"] * 3 + [
        "hidden_queries=false"
    ] * 3
