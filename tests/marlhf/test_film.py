"""The film of an agent, and what the command answers to bad input."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from common.cli import UserError
from marlhf import agents
from marlhf.environments import RolloutManager, make_task
from marlhf.environments import film as films
from marlhf.networks import QNetwork
from marlhf.offline.team import Team
from marlhf.stages.tasks import save_agent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    network = QNetwork(5, 4)
    shapes = (network.initial_carry(1), jnp.zeros((1, 1, 21)), jnp.zeros((1, 1), bool))
    meta = agents.AgentMeta("q", "spread", {}, "mine", "behaviour", 5, 4, 21, {}, None, None, {})
    path = tmp_path_factory.mktemp("agents") / "mine.safetensors"
    agents.save_agent(path, network.init(jax.random.key(0), *shapes), meta)
    return path


def test_a_film_of_a_checkpoint(film, checkpoint, tmp_path, capfd):
    out = tmp_path / "film.gif"
    asked = ["spread", "--checkpoint", str(checkpoint), "--output", str(out), "--steps", "30"]
    assert film([*asked, "--seed", "3"]) == 0
    with Image.open(out) as picture:
        assert picture.n_frames == 30
    first = out.read_bytes()
    assert film([*asked, "--seed", "3"]) == 0 and out.read_bytes() == first
    assert film([*asked, "--seed", "4"]) == 0 and out.read_bytes() != first
    # capfd: importing JaxMARL puts sys.stdout back to the process's own
    assert "spread mine: return -" in capfd.readouterr().out


@pytest.mark.parametrize("kind, shared", [("q", False), ("twin_q", True)])
def test_teams_and_twins_play_what_their_networks_say(film, tmp_path, kind, shared):
    """MABCQ's agents, and those that share no parameters."""
    task = make_task("spread")
    team = Team(agents.KINDS[kind](5, 4), 3, shared)
    params, path = team.init(jax.random.key(1), 21), tmp_path / "offline.safetensors"
    save_agent(path, task, kind, "offline", params, {}, {}, own=not shared)
    out = tmp_path / "film.gif"
    assert film(["spread", "--checkpoint", str(path), "--output", str(out), "--steps", "3"]) == 0
    with Image.open(out) as picture:
        assert picture.n_frames == 3
    key, reset = jax.random.split(jax.random.PRNGKey(0))
    view, _ = RolloutManager(task, 1, zero_first_observations=False).reset(reset)
    _, q = team.apply(params, team.initial_carry(1), view.obs[None, None, :, 0], jnp.zeros((1, 1), bool))
    with jax.numpy_rank_promotion("allow"):  # JaxMARL promotes
        played = films.play("spread", str(path), "default", 0, 2)
        _, env = RolloutManager(task, 1, zero_first_observations=False).reset(reset)
        step = jax.random.split(jax.random.split(key, 2)[0])[1]
        moved = RolloutManager(task, 1).step(step, env, jnp.argmax(q[0, 0], axis=-1)[:, None])[0]
    np.testing.assert_allclose(played.world_state[1], moved.world_state[0], atol=1e-6)


def test_a_team_of_another_size_and_one_where_a_single_agent_is_needed_are_refused(tmp_path):
    task, path = make_task("spread"), tmp_path / "offline.safetensors"
    team = Team(QNetwork(5, 4), 2, shared=False)
    save_agent(path, task, "q", "offline", team.init(jax.random.key(1), 21), {}, {}, own=True)
    with pytest.raises(UserError, match="team of 2; spread has 3"):
        agents.load_for(task, path, alone=False)
    with pytest.raises(UserError, match="each of 2 agents"):
        agents.load_for(task, path)


@pytest.mark.parametrize(
    "changed, line",
    [
        ({"--steps": "0"}, "--steps 0"),
        ({"--fps": "nan"}, "--fps nan"),
        ({"--seed": "-1"}, "--seed -1"),
        ({"--output": "film.mp4"}, ".gif"),
        ({"--checkpoint": "none.safetensors"}, "no agent at none.safetensors"),
        ({"--checkpoint": "exprt"}, "did you mean 'expert'"),
        ({"--prey": "random"}, "only Tag has a prey"),
    ],
)
def test_bad_input_is_one_line(film, checkpoint, tmp_path, changed, line, capfd):
    # capfd: see above
    options = {"--checkpoint": str(checkpoint), "--output": str(tmp_path / "film.gif"), **changed}
    assert film(["spread", *(part for pair in options.items() for part in pair)]) == 2
    error = capfd.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not (tmp_path / "film.gif").exists()


def test_an_agent_of_another_task_is_refused(film, checkpoint, tmp_path, capfd):
    options = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "film.gif")]
    assert film(["reference", *options]) == 2
    assert "agent of spread" in capfd.readouterr().err
