"""The command that trains the committed agents anew, at a size where nothing is learned."""

import dataclasses

import pytest

from common.cli import run_main
from marlhf import agents
from marlhf.behaviour import ippo, ladder, prey, recipes
from marlhf.environments import default_prey

TINY = {
    "num_envs": 2,
    "buffer_size": 4,
    "buffer_batch_size": 2,
    "num_test_episodes": 2,
    "test_interval": 104,
    "total_timesteps": 2 * 26 * 2,
}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(ladder, "WHILE_TRAINING", 4)
    monkeypatch.setattr(ladder, "FINAL", 4)
    monkeypatch.setattr(ladder, "EARLY", 0)
    small = {name: dataclasses.replace(settings, **TINY) for name, settings in recipes.VDN.items()}
    monkeypatch.setattr(recipes, "VDN", small)
    monkeypatch.setattr(recipes, "AGAINST_RANDOM", small["tag"])
    monkeypatch.setattr(recipes, "PREY", dataclasses.replace(recipes.PREY, num_envs=2, num_updates=1))
    monkeypatch.setattr(recipes.measure_prey, "__defaults__", (4,))


def recipe(*argv):
    return run_main(recipes.body, argv, program="recipes")


@pytest.mark.slow
def test_tag_is_trained_against_its_own_prey(tiny, tmp_path):
    out, work = tmp_path / "agents", tmp_path / "work"
    assert recipe("tag", "--output", str(out), "--work", str(work)) == 0
    files = {path.stem: agents.load_meta(path) for path in (out / "tag").iterdir()}
    assert set(files) == {*agents.LABELS, "deviator1", "prey"}
    evader = files.pop("prey")
    assert evader.role == "prey" and set(evader.returns) == {
        "of uniform",
        "of expert",
        "of rookie2",
        "of trivial",
    }
    assert {meta.kwargs["prey"] for meta in files.values()} == {str(out / "tag" / "prey.safetensors")}


def test_the_stages_of_tag(monkeypatch, tmp_path):
    calls = []

    def ladder_of(task, settings, seed, folder, work, say):
        calls.append((dict(task.kwargs).get("prey", "default"), settings, seed, folder))

    def prey_of(settings, hunters, seed, folder, every, say):
        calls.append((hunters, settings, seed, folder))
        return [default_prey()]

    monkeypatch.setattr(ladder, "train_ladder", ladder_of)
    monkeypatch.setattr(prey, "train_prey", prey_of)
    monkeypatch.setattr(
        agents,
        "load_agent",
        lambda path, load=agents.load_agent: (
            path.stem if path.parent.name == "tag" and path.stem != "prey" else load(path)
        ),
    )
    work, out = tmp_path / "work", tmp_path / "agents"
    recipes.train("tag", 7, out, work, print)
    assert calls == [
        ("random", recipes.AGAINST_RANDOM, 7, work / "random"),
        (["expert", "rookie2"], recipes.PREY, 7, work / "preys"),
        (str(out / "tag" / "prey.safetensors"), recipes.VDN["tag"], 7, out),
    ]
    assert agents.load_meta(out / "tag" / "prey.safetensors").role == "prey"


def test_more_agents_are_one_training(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(
        ladder, "train_ladder", lambda task, settings, *rest: calls.append((task.n_agents, settings))
    )
    recipes.train("spread_na6", 0, tmp_path, tmp_path, print)
    recipes.train("reference", 0, tmp_path, tmp_path, print)
    assert calls == [(6, recipes.VDN["spread_na6"]), (2, recipes.VDN["reference"])]


@pytest.mark.parametrize(
    "argv, line",
    [(["sprad"], "sprad"), (["spread", "--seed", "-1"], "--seed -1"), (["tag", "--sed", "1"], "--seed")],
)
def test_bad_input_is_one_line(argv, line, capsys):
    try:
        code = recipe(*argv)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_every_recipe_is_a_whole_training():
    assert set(recipes.ENVIRONMENTS) == {*ladder.SCALES, "overcooked"}
    for settings in recipes.VDN.values():
        assert settings.num_updates > ladder.EARLY
    assert ippo.IPPOSettings().num_updates == 625  # section 2.8
