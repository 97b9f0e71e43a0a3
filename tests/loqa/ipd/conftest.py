"""The script `ipd.py` as a module, and small configurations of it."""

from pathlib import Path

import pytest

from loqa.ipd.config import DEAD, parse

SCRIPT = Path(__file__).resolve().parents[3] / "loqa" / "ipd.py"
#: the README's command without its name, tags and size
README = (
    "hp=logits hp.eval_every=100 hp.qvalue.mode=mean hp.qvalue.train.lr_loss_qvalue=1e-2 "
    "hp.actor.train.lr_loss_actor=1e-3 hp.actor.train.entropy_beta=0.0 hp.agent_replay_buffer.mode=disabled "
    "hp.epsilon_greedy=0.2 hp.qvalue.replay_buffer.mode=disabled"
)


@pytest.fixture(scope="session")
def ipd(script):
    return script(SCRIPT)


@pytest.fixture
def readme_hp():
    """`readme_hp("hp.batch_size=4")`: the README's configuration, 4 episodes of 6 steps unless it says otherwise."""

    def build(words=""):
        return parse(f"{README} hp.batch_size=4 hp.game_length=6 {words}".split()).hp

    return build


@pytest.fixture
def recorded_hp():
    """The configuration of a recorded run: the keys of its tree that anybody reads."""

    def flat(tree, path):
        for key, value in tree.items():
            name = f"{path}.{key}"
            if isinstance(value, dict):
                yield from flat(value, name)
            elif name not in DEAD:
                yield f"{name}={value}"

    def build(tree):
        return parse([f"hp={tree['actor']['model']}", *flat(tree, "hp")]).hp

    return build
