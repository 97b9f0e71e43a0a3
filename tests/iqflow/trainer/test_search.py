"""The search: a range for every combination, and a study that goes on where it was killed."""

import optuna
import pytest

from common.cli import UserError
from iqflow.config.loading import names, read_tree
from iqflow.config.settings import ALGORITHMS
from iqflow.trainer import search

ER = "--alg qflow --exp er --config config_er_qflow --n_seeds 2"
EXPERIMENT = {"img": "stag_hunt", "er": "er", "ssd": "ssd"}


def wanted(tmp_path, words=ER, n_trials=4):
    return search.parse(f"{words} --n_trials {n_trials} --run_root {tmp_path}".split())


class Training:
    """Stands for `program.run`: the score is the incentive net's learning rate; may die at a trial."""

    def __init__(self, dies_at=None, fails_at=None):
        self.dies_at, self.fails_at, self.launches = dies_at, fails_at, []

    def __call__(self, launch):
        self.launches.append(launch)
        if len(self.launches) - 1 == self.dies_at:
            raise KeyboardInterrupt
        score = launch.settings.method.lr_reward
        summaries = {seed: {"score": score + k} for k, seed in enumerate(launch.seeds)}
        if len(self.launches) - 1 == self.fails_at:
            summaries[launch.seeds[0]] = None
        return summaries


def trials(tmp_path):
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/results_optuna/store.db")
    return [(trial.params, trial.value, trial.state.name) for trial in study.trials]


@pytest.mark.parametrize("config", names())
def test_every_configuration_has_something_to_search(config):
    alg = next(alg for alg in ALGORITHMS if alg in read_tree(config))
    exp = EXPERIMENT[config.split("_")[1]]
    found = search.parse(f"--alg {alg} --exp {exp} --config {config}".split())
    ranges = search.space(found.launch.settings)
    middle = {name: (low * high) ** 0.5 for name, (low, high) in ranges.items()}
    trial = found.trial(3, middle)
    assert ranges and all(getattr(trial.settings.method, name) == value for name, value in middle.items())
    assert trial.seeds == tuple(12340 + 3 * 995 + k for k in range(5))
    assert trial.output_folder(trial.seeds[2]).name == f"{found.launch.settings.main.dir_name}_3_2"


def test_the_objective_is_the_mean_over_the_seeds(tmp_path):
    training = Training()
    assert search.run(wanted(tmp_path), training) == 0
    assert len(trials(tmp_path)) == 4
    for params, value, state in trials(tmp_path):
        assert state == "COMPLETE"
        assert value == pytest.approx(params["lr_reward"] + 0.5)
        assert set(params) == {"lr_reward", "cost_reg_coeff", "cost_reg_coeff2"}


def test_a_killed_study_goes_on_and_finds_the_same(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    search.run(wanted(whole, n_trials=8), Training())
    with pytest.raises(KeyboardInterrupt):
        search.run(wanted(cut, n_trials=8), Training(dies_at=6))
    assert [state for *_, state in trials(cut)][-1] == "RUNNING"
    search.run(wanted(cut, n_trials=8), Training())
    assert trials(cut) == trials(whole)


def test_a_finished_study_tries_nothing_more(tmp_path):
    search.run(wanted(tmp_path), Training())
    again = Training()
    assert search.run(wanted(tmp_path), again) == 0
    assert not again.launches


def test_a_trial_with_a_failed_seed_fails_and_the_rest_go_on(tmp_path):
    assert search.run(wanted(tmp_path), Training(fails_at=1)) == 1
    assert [state for *_, state in trials(tmp_path)] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_a_study_of_another_configuration_is_refused(tmp_path):
    search.run(wanted(tmp_path), Training())
    with pytest.raises(UserError, match="another configuration"):
        search.run(wanted(tmp_path, f"{ER} --set alg.n_episodes=7"), Training())


def test_what_is_searched_can_not_be_set(tmp_path):
    with pytest.raises(UserError, match="qflow.lr_reward is one of the keys that the search chooses"):
        wanted(tmp_path, f"{ER} --set qflow.lr_reward=1")
