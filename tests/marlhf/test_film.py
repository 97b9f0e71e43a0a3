"""The film of an agent, and what the command answers to bad input."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from PIL import Image

from common.cli import run_main
from marlhf import agents
from marlhf.networks import QNetwork

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def film():
    """The command, as `film.py` runs it."""
    spec = importlib.util.spec_from_file_location("marlhf_film", ROOT / "marlhf" / "film.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return functools.partial(run_main, module.body, program="film.py")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    network = QNetwork(5, 4)
    shapes = (network.initial_carry(1), jnp.zeros((1, 1, 21)), jnp.zeros((1, 1), bool))
    meta = agents.AgentMeta("q", "spread", {}, "mine", "behaviour", 5, 4, 21, {}, None, None, {})
    path = tmp_path_factory.mktemp("agents") / "mine.safetensors"
    agents.save_agent(path, network.init(jax.random.key(0), *shapes), meta)
    return path


def test_a_film_of_a_checkpoint(film, checkpoint, tmp_path, capsys):
    out = tmp_path / "film.gif"
    asked = ["spread", "--checkpoint", str(checkpoint), "--output", str(out), "--steps", "30"]
    assert film([*asked, "--seed", "3"]) == 0
    with Image.open(out) as picture:
        assert picture.n_frames == 30
    first = out.read_bytes()
    assert film([*asked, "--seed", "3"]) == 0 and out.read_bytes() == first
    assert film([*asked, "--seed", "4"]) == 0 and out.read_bytes() != first
    assert "spread mine: return -" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changed, line",
    [
        ({"--steps": "0"}, "--steps 0"),
        ({"--fps": "nan"}, "--fps nan"),
        ({"--seed": "-1"}, "--seed -1"),
        ({"--output": "film.mp4"}, ".gif"),
        ({"--checkpoint": "none.safetensors"}, "no agent at none.safetensors"),
        ({"--checkpoint": "exprt"}, "did you mean expert"),
        ({"--prey": "random"}, "only Tag has a prey"),
    ],
)
def test_bad_input_is_one_line(film, checkpoint, tmp_path, changed, line, capsys):
    options = {"--checkpoint": str(checkpoint), "--output": str(tmp_path / "film.gif"), **changed}
    assert film(["spread", *(part for pair in options.items() for part in pair)]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not (tmp_path / "film.gif").exists()


def test_an_agent_of_another_task_is_refused(film, checkpoint, tmp_path, capsys):
    options = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "film.gif")]
    assert film(["reference", *options]) == 2
    assert "agent of spread" in capsys.readouterr().err
