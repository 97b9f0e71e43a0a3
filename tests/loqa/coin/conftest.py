"""Shared by the Coin Game's tests: small settings by command line, and the recorded settings of golden cases."""

import json
from pathlib import Path

import numpy as np
import pytest

from common import checkpoints
from loqa.coin import config

SMALL = (
    "hp=loqa_iclr hp.batch_size=4 hp.game.game_length=5 hp.max_iterations=6 hp.eval_every=2 hp.save_every=2 "
    "hp.actor.hidden_size=4 hp.qvalue.hidden_size=3 hp.agent_replay_buffer.capacity=100"
)


@pytest.fixture
def small():
    """`small("hp.key=value ...")`: a tiny setting with changes."""
    return lambda words="": config.parse([*SMALL.split(), *words.split()]).hp


def _flat(tree, path):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


@pytest.fixture
def recorded_hp(case):
    """The setting of a golden case, with every iteration's norms wanted."""
    tree = json.loads(case.with_suffix(".json").read_text("utf-8"))["hp"]
    words = [f"{key}={value}" for key, value in _flat(tree, "hp") if key not in config.DEAD]
    return config.parse([*words, "hp.eval_every=1", "hp.save_dir=''"]).hp


@pytest.fixture
def case_matches():
    """A published agent's parameters and its recorded returns against itself."""
    golden = Path(__file__).resolve().parents[1] / "golden"
    match = json.loads((golden / "trained_matches.json").read_text("utf-8"))["matches"]
    name, found = next((key, value) for key, value in match.items() if key.endswith("vs itself"))
    agent = name.split("(")[1].split(")")[0]
    return checkpoints.nested(dict(np.load(golden / f"trained_loqa_{agent}.npz"))), found
