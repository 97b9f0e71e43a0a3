"""Names, keys, grids and seeds of the experiments (acceptance item 21)."""

import re
from pathlib import Path

import pytest

from common.cli import UserError
from stackerlberg import launch
from stackerlberg.batched import engine, translate
from stackerlberg.experiments import catalogue
from stackerlberg.experiments.configuration import build, plain

README = (
    "ipd_allmatrices_ppo_pg",
    "ipd_allmatrices_pg_pg",
    "smipd_hiddenqueries_pg_pg",
    "smipd_nothiddenqueries_pg_pg",
    "smipd_hiddenqueries_dqn_pg",
    "smipd_nothiddenqueries_dqn_pg",
    "smipd_leadermemory_pg_pg",
    "smipd_leadernomemory_pg_pg",
)
MISSING_IN_THE_RELEASE = README[1:6]
FURTHER = (
    "ipd_allmatrices_ppo_tabularq",
    "bots_pg_tabularq",
    "bots_dqn_tabularq_out_of_eq",
    "smipd_hiddenqueries_pg_pg_new",
    "ipd_ipd_ppo_pg_savecheckpoint",
    "smipd_es_pg_new",
    "test_save_load_checkpoint",
    "matrix_bots",
    "matrix_bots_pretrainonly",
    "smipd_dqn_pg_pretrain",
    "smipd_dqn_ppo_pretrain",
    "smipd_dqn_pg_nondiscrete_pretrain",
    "smipd_dqn_dqn_pretrain",
)
PG = ("--experiment", "smipd_hiddenqueries_pg_pg")


def test_every_name_of_the_paper_is_there():
    assert set(README) | set(FURTHER) <= set(catalogue.names())


@pytest.mark.parametrize("name", catalogue.names())
def test_every_entry_resolves_and_fits_the_batched_engine(name):
    experiment = catalogue.resolve(name)
    assert experiment.about and experiment.seeds
    for condition in experiment.conditions:
        translate.spec_of(condition.configuration)


def test_what_the_release_lacks_is_marked():
    for name in catalogue.names():
        marked = bool(catalogue.resolve(name).reconstruction)
        assert marked == (name in MISSING_IN_THE_RELEASE or name.startswith("ipd_allmatrices_es")), name


@pytest.mark.parametrize(
    ("name", "leader", "follower", "counts"),
    [
        ("smipd_nothiddenqueries_pg_pg", (13, 1), (13, 1), {"leader": 104, "leader_game": 65}),
        ("ipd_allmatrices_pg_pg", (7, 1), (7, 1), {"leader": 105, "leader_game": 70}),
        ("ipd_allmatrices_ppo_pg", (67, 1), (7, 1), {"leader": 1005}),
        ("ipd_allmatrices_ppo_tabularq", (10, 1), None, {"leader": 8100}),
        ("bots_pg_tabularq", (10, 1), None, {"leader": 110}),
        ("bots_dqn_tabularq_out_of_eq", (1, 10), None, {"leader": 110}),
        ("matrix_bots", (1, 8), (1, 8), {"leader": 16}),
    ],
)
def test_batches_have_the_published_geometry(name, leader, follower, counts):
    """Episodes per training step and training steps per iteration (spec 5.3 to 5.5, acceptance item 6)."""
    spec = translate.spec_of(catalogue.resolve(name).conditions[0].configuration)
    assert (spec.leader.episodes, spec.leader.trainings) == leader
    if follower:
        assert (spec.follower.episodes, spec.follower.trainings) == follower
    assert {key: translate.counters(spec)[key] for key in counts} == counts


def test_a_run_of_the_whole_grid_has_one_condition_per_point():
    found = launch.parse(["--experiment", "ipd_allmatrices_ppo_pg"])
    assert [condition.varied["matrix_name"] for condition in found.experiment.conditions][::11] == [
        "prisoners_dilemma",
        "chicken",
    ]
    assert found.seeds == (1, 2, 3, 4, 5)


def test_seeds_of_the_command_line_win():
    assert launch.parse([*PG, "--seed", "7"]).seeds == (7,)
    assert launch.parse([*PG, "--seeds", "3,5-6"]).seeds == (3, 5, 6)
    assert launch.parse([*PG]).seeds == tuple(range(10))


def test_a_large_seed_is_no_overflow():
    """Q3: offsets are no longer added to seeds, so the largest one is as good as any."""
    assert launch.parse([*PG, "--seed", str(2**31 - 1)]).seeds == (2**31 - 1,)


def test_grid_and_set_change_the_configuration():
    found = launch.parse([*PG, "--set", "follower_config.lr=0.5", "--grid", "leader_config.lr=[0.1,0.2]"])
    assert [c.label for c in found.experiment.conditions] == ["lr=0.1", "lr=0.2"]
    assert {c.configuration.follower.lr for c in found.experiment.conditions} == {0.5}
    assert found.identity(3)["seed"] == 3 and "lr=0.2" in found.identity()["conditions"]


def test_reading_an_entry_does_not_change_it():
    """Q17: the original's table was changed by a run."""
    before = plain(catalogue.resolve("smipd_leadermemory_pg_pg").conditions[0].configuration)
    catalogue.resolve("smipd_leadermemory_pg_pg", [("leader_config.lr", 3.0)])
    assert plain(catalogue.resolve("smipd_leadermemory_pg_pg").conditions[0].configuration) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--experiment", "smipd_hidenqueries_pg_pg"), "did you mean"),
        ((*PG, "--set", "leader_config.learning_rate=1"), "unknown key leader_config.learning_rate"),
        ((*PG, "--set", "leader_algoritm=PG"), "did you mean leader_algorithm"),
        ((*PG, "--set", "common_config.env_config.q_alpha=0.1"), "q_alpha"),
        ((*PG, "--set", "leader_config.lr=fast"), "has to be a number"),
        ((*PG, "--set", "leader_config.lr=-1"), "above 0"),
        ((*PG, "--set", "leader_config.lr"), "KEY=VALUE"),
        ((*PG, "--set", "leader_config.lr.x=1"), "lr is a value"),
        ((*PG, "--set", "leader_config.gamma=0.9"), "only 1 is implemented"),
        ((*PG, "--set", "leader_algorithm=SAC"), "one of PG"),
        ((*PG, "--set", "outer_iterations=-1"), "negative"),
        ((*PG, "--grid", "leader_config.lr=0.1"), "needs a list"),
        ((*PG, "--seed", "1", "--seeds", "1-2"), "exclude each other"),
        ((*PG, "--seed", "-1"), "whole number"),
        ((*PG, "--ray_num_cpus", "-1"), "number of cores"),
        ((*PG, "--ray_address", "auto"), "engine rllib"),
        ((*PG, "--log_every", "0"), "at least 1"),
        ((*PG, "--hyperopt", "--seed", "1"), "seeds of its own"),
        (("--experiment", "smipd_hiddenqueries_pg_pg_new", "--hyperopt"), "has a grid over hidden_queries"),
        (("--experiment", "matrix_bots", "--hyperopt"), "no search space"),
    ],
)
def test_what_can_not_be_is_refused_with_one_line(words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        launch.parse(words)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("common_config.env_config.matrix=[[[1,2],[3,4]]]", None),
        ("common_config.env_config.matrix=[[1,2],[3,4]]", "shape"),
        ("common_config.env_config.matrix=[[[1,NaN],[3,4]]]", "finite"),
        ("common_config.env_config.matrix_name=prisoner", "unknown matrix_name"),
    ],
)
def test_games_are_checked(setting, message):
    extra = ["--set", "common_config.env_config.matrix=[]"] if "matrix_name" in setting else []
    found = launch.parse([*PG, *extra, "--set", setting])
    if message is None:
        assert engine.plan(found)[0].spec.actions == (1, 2)
    else:
        with pytest.raises(UserError, match=message):
            engine.plan(found)


@pytest.mark.parametrize("flag", ["--hyper", "--wandb_grup=x", "--unknown"])
def test_an_unknown_flag_ends_with_code_2(flag, capsys):
    with pytest.raises(SystemExit) as stopped:
        launch.parse([*PG, flag])
    assert stopped.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_help_lists_every_experiment(capsys):
    with pytest.raises(SystemExit) as stopped:
        launch.parse(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in README)


def test_every_trainer_key_reaches_the_engine():
    """A key that nobody reads would be a lie: each changes what is compiled or the data."""
    tree = catalogue.resolve("smipd_nothiddenqueries_dqn_pg").conditions[0].tree
    read = Path(translate.__file__).read_text("utf-8") + Path(engine.__file__).read_text("utf-8")
    for key in plain(build(tree))["leader"]:
        assert key == "gamma" or f".{key}" in read, key
