"""The command line: groups, keys that nobody reads, impossible settings: one line, exit code 2."""

import dataclasses
import re
from pathlib import Path

import pytest

from common.cli import UserError
from loqa.coin import config

HOME = Path(config.__file__).resolve().parents[2]
README = (
    "hp=loqa_iclr hp.seed=42 hp.game.width=3 hp.game.height=3 hp.batch_size=512 hp.save_every=1000 "
    "hp.actor.train.lr_loss_actor=0.001 hp.qvalue.train.lr_loss_qvalue=0.01 hp.actor.train.entropy_beta=0.1 "
    "hp.actor.layers_before_gru=2 hp.actor.hidden_size=128 hp.agent_replay_buffer.mode=enabled "
    "hp.agent_replay_buffer.capacity=10000 hp.agent_replay_buffer.update_freq=10 hp.just_self_play=True"
)


def test_the_readme_command():
    hp = config.parse(README.split()).hp
    assert (hp.batch_size, hp.actor.hidden_size, hp.qvalue.hidden_size) == (512, 128, 64)
    assert hp.differentiable_opponent.discount == 0.9 and hp.max_iterations == 6000
    assert hp.reset.mode == "disabled" and hp.learners == ("loqa",)


@pytest.mark.parametrize(
    "group, capacity, discount, resets",
    [
        ("test", 7, 1.0, "enabled"),
        ("loqa", 7, 1.0, "enabled"),
        ("ios", 7, 1.0, "enabled"),
        ("reproduce_juan", 1, 0.9, "disabled"),
        ("loqa_iclr", 1, 0.9, "disabled"),
    ],
)
def test_groups(group, capacity, discount, resets):
    hp = config.parse([f"hp={group}"]).hp
    assert hp.agent_replay_buffer.capacity == capacity and hp.reset.mode == resets
    assert hp.differentiable_opponent.discount == discount
    assert (hp.differentiable_opponent.method == "loaded-ios") == (group == "ios")
    assert hp.just_self_play and hp.game.game_length == 50


def test_the_paper_s_group_is_the_released_one():
    assert config.parse(["hp=reproduce_juan"]).hp == config.parse(["hp=loqa_iclr"]).hp


@pytest.mark.parametrize(
    "words, said",
    [
        ("hp.game.height=1 hp.game.width=2", "more than 2"),
        ("hp.game.width=-3", "hp.game.width=-3"),
        ("hp.batch_size=0", "hp.batch_size=0"),
        ("hp.agent_replay_buffer.capacity=0", "hp.agent_replay_buffer.capacity=0"),
        ("hp.agent_replay_buffer.cur_agent_frac=1.5", "from 0 to 1"),
        ("hp.actor.hiden_size=3", "hiden_size"),
        ("hp=loqa_icml", "loqa_icml"),
        ("hp.agent_0=naive", "hp.just_self_play=False"),
        ("hp.agent_1=random", "loqa or naive"),
        ("hp.independent_init=True", "hp.just_self_play=False"),
        ("hp.game.gnumactions=2", "hp.game.gnumactions=2"),
        ("hp.qvalue.replay_buffer.mode=enabled", "disabled"),
        ("hp.actor.inf_weight=0.5", "leave it out"),
        ("hp.actor.layers_before_gru=3", "0 or 1 or 2"),
        ("hp.differentiable_opponent.method=n_step hp.differentiable_opponent.n_step=60", "n_step=60"),
        ("hp.differentiable_opponent.method=dice", "loaded-dice"),
        ("hp.reward_discount=nan", "hp.reward_discount"),
        ("hp.op_softmax_temp=0", "above 0"),
    ],
)
def test_bad_input(words, said):
    with pytest.raises(UserError) as error:
        config.parse(words.split())
    assert said in str(error.value) and "\n" not in str(error.value)


def leaves(kind):
    """Names of the fields of a tree of dataclasses."""
    for field in dataclasses.fields(kind):
        inner = getattr(config, str(field.type), None)
        if inner is not None and dataclasses.is_dataclass(inner):
            yield from leaves(inner)
        else:
            yield field.name


def test_every_key_is_read():
    sources = [
        HOME / "loqa" / "coin" / "config.py",
        HOME / "loqa" / "coin" / "training.py",
        HOME / "loqa" / "program.py",
    ]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    unread = [name for name in leaves(config.Hp) if not re.search(rf"\.{name}\b", text)]
    # the seed reaches the program as one of the launch's seeds
    assert unread in ([], ["seed"])


def test_every_key_is_in_the_base_file_with_a_comment_or_a_plain_name():
    text = (HOME / "config" / "coin" / "config.yaml").read_text("utf-8")
    for name in leaves(config.Hp):
        assert re.search(rf"^\s+{name}: ", text, re.M), name
