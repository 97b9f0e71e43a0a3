"""What the tournament's tests share: small player files."""

import base64
import copy
import json

import numpy as np
import pytest

MADE_BY = {"commands": ["python mine.py"], "game": "loqa/ipd"}
TIT_FOR_TAT = {
    "format": "opponent-shaping-player/1",
    "name": "mine",
    "paper": "mine",
    "about": "tit for tat that sees the other's last action only",
    "kind": "memory-one",
    "sees": ["start", "-C", "-D"],
    "cooperate": [1.0, 1, 0.0],
    "made_by": MADE_BY,
}


def encoded(array):
    array = np.asarray(array, "<f4")
    return {"shape": list(array.shape), "float32": base64.b64encode(array.tobytes()).decode()}


def small_network(seed=0, width=4, hidden=3):
    """Weights of a small recurrent player, by name."""
    rng = np.random.default_rng(seed)

    def dense(rows, columns):
        return {"kernel": rng.normal(size=(rows, columns)), "bias": rng.normal(size=columns)}

    gru = {name: dense(hidden, hidden) for name in ("ir", "iz", "in", "hr", "hz", "hn")}
    for name in ("hr", "hz"):
        del gru[name]["bias"]
    return {
        "inputs": rng.normal(size=(5, width)),
        "linear": dense(width, hidden),
        "gru": gru,
        "readout": dense(hidden, 2),
    }


def by_hand(net, numbers, relu=True, cooperation=1):
    """The network's probabilities of cooperation, written out a second time, gate by gate."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def at(part, x):
        return x @ part["kernel"] + part.get("bias", 0)

    state, found = np.zeros(len(net["readout"]["kernel"])), []
    for number in numbers:
        x = at(net["linear"], net["inputs"][number])
        x = np.maximum(x, 0) if relu else x
        reset = sigmoid(at(net["gru"]["ir"], x) + at(net["gru"]["hr"], state))
        update = sigmoid(at(net["gru"]["iz"], x) + at(net["gru"]["hz"], state))
        new = np.tanh(at(net["gru"]["in"], x) + reset * at(net["gru"]["hn"], state))
        state = (1 - update) * new + update * state
        odds = np.exp(at(net["readout"], state))
        found.append(float(odds[cooperation] / odds.sum()))
    return found


def recurrent_file(seed=0):
    """A recurrent player's file with a history of eight situations."""
    net, history = small_network(seed), ["start", "CC", "CD", "DD", "DC", "CC", "CC", "DD"]
    sees = ["start", "CC", "CD", "DC", "DD"]
    parts = {name: {key: encoded(a) for key, a in part.items()} for name, part in net["gru"].items()}
    return {
        **{key: TIT_FOR_TAT[key] for key in ("format", "name", "paper", "about", "made_by")},
        "kind": "recurrent",
        "sees": sees,
        "inputs": net["inputs"].tolist(),
        "cell": "gru",
        "layers": [{key: encoded(array) for key, array in net["linear"].items()} | {"activation": "relu"}],
        "gru": parts,
        "readout": {key: encoded(array) for key, array in net["readout"].items()},
        "answers": ["D", "C"],
        "check": {"history": history, "cooperate": by_hand(net, [sees.index(word) for word in history])},
    }


@pytest.fixture
def tit_for_tat():
    return copy.deepcopy(TIT_FOR_TAT)


@pytest.fixture
def recurrent():
    return recurrent_file()


@pytest.fixture
def write(tmp_path):
    """Writes a player's file and gives its path."""

    def write(content, name=None):
        path = tmp_path / f"{name or content['name']}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture(name="by_hand")
def by_hand_fixture():
    return by_hand


@pytest.fixture(name="small_network")
def small_network_fixture():
    return small_network


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """A folder of two player files: `steady` looks at the last round only, `wavering` is recurrent."""
    folder = tmp_path_factory.mktemp("players")
    (folder / "steady.json").write_text(json.dumps(TIT_FOR_TAT | {"name": "steady"}))
    (folder / "wavering.json").write_text(json.dumps(recurrent_file() | {"name": "wavering"}))
    return folder
