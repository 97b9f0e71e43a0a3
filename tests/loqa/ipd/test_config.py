"""The command line of `ipd.py`: groups, keys, and everything that is refused."""

import ast
import dataclasses
from pathlib import Path

import pytest

from common.cli import UserError
from loqa.ipd import config
from loqa.ipd.config import DEAD, parse
from loqa.settings import CONFIG

ROOT = Path(__file__).resolve().parents[3] / "loqa"


@pytest.mark.parametrize("group", ["logits", "gru", "mlp", "coin"])
def test_every_group_composes(group):
    hp = parse([f"hp={group}"]).hp
    assert hp.actor.model == {"coin": "gru"}.get(group, group)
    assert hp.max_iterations == 7000 and hp.objective.method == "loaded-dice"


def test_the_groups_carry_the_values_of_the_spec():
    """A few of the table in section 2.3 that differ between groups."""
    seen = {group: parse([f"hp={group}"]).hp for group in ("logits", "gru", "mlp", "coin")}
    assert {group: hp.batch_size for group, hp in seen.items()} == {
        "logits": 32,
        "gru": 3,
        "mlp": 256,
        "coin": 8192,
    }
    assert [hp.seed for hp in seen.values()] == [45, 46, 46, 45]
    assert [hp.qvalue.mode for hp in seen.values()] == ["argmax", "mean", "argmax", "mean"]
    assert [hp.actor.train.entropy_beta for hp in seen.values()] == [0.0, 0.2, 0.0, 0.1]
    assert [hp.actor.train.lr_loss_actor for hp in seen.values()] == [1e-4, 1e-4, 1e-4, 1e-3]
    assert [hp.actor.train.clip_grad.mode for hp in seen.values()] == ["disabled", "norm", "disabled", "norm"]


def _leaves(kind, path="hp"):
    for field in dataclasses.fields(kind):
        inner = getattr(config, field.type, None)
        if inner is not None and dataclasses.is_dataclass(inner):
            yield from _leaves(inner, f"{path}.{field.name}")
        else:
            yield f"{path}.{field.name}"


def test_every_key_is_read_somewhere():
    """A field whose name no attribute access of the program mentions computes nothing."""
    read = set()
    for path in [ROOT / "ipd.py", ROOT / "loqa" / "program.py", *(ROOT / "loqa" / "ipd").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
    keys = list(_leaves(config.Hp))
    assert len(keys) > 40
    # the run's seed travels as `launch.seeds`
    unread = [key for key in keys if key.split(".")[-1] not in read | {"seed"}]
    assert not unread


def test_every_key_is_explained_where_it_is_set():
    """Every line of the base file and of the group that the README starts from says what its key means."""
    for name in ("config.yaml", "hp/logits.yaml"):
        text = (CONFIG / "ipd" / name).read_text("utf-8")
        hp = text.split("\nhp:")[-1].split("\nwandb:")[0]
        for line in hp.splitlines():
            key = line.split(":")[0].strip()
            if ": " in line and key not in ("model", "max_norm", "capacity", "every", "mode"):
                assert "#" in line, line


@pytest.mark.parametrize("key", sorted(DEAD))
def test_a_key_that_nobody_read_is_refused_with_the_reason(key):
    with pytest.raises(UserError, match="leave it out"):
        parse(["hp=logits", f"+{key}=1"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("hp=nosuch", "nosuch"),
        ("hp.batch_sise=3", "batch_sise"),
        ("+hp.batch_sise=3", "did you mean hp.batch_size"),
        ("hp.batch_size=-4", "hp.batch_size"),
        ("hp.batch_size=2.5", "a number from 1 on"),
        ("hp.game_length=0", "hp.game_length"),
        ("hp.agent_replay_buffer.capacity=0", "capacity"),
        ("hp.qvalue.replay_buffer.capacity=0", "capacity"),
        ("hp.epsilon_greedy=1.5", "0 to 1"),
        ("hp.qvalue.target=td", "bootstrapped or finite-horizon or monte-carlo"),
        ("hp.qvalue.mode=max", "mean or argmax"),
        ("hp.actor.model=lstm", "logits or gru or mlp"),
        ("hp.actor.train.lr_loss_actor=-1", "lr_loss_actor"),
        ("hp.actor.train.lr_loss_actor=fast", "lr_loss_actor"),
        ("hp.differentiable_opponent.method=loaded-aa", "loaded-dice or n_step"),
        ("hp.differentiable_opponent.method=n_step hp.differentiable_opponent.n_step=1", "n_step"),
        ("hp.differentiable_opponent.method=n_step hp.differentiable_opponent.n_step=60", "looks past"),
        ("hp.op_softmax_temp=0", "above 0"),
        ("hp.reset.every=0", "reset.every"),
        ("--seed 1 --seeds 1-2", "exclude"),
    ],
)
def test_bad_input_is_refused_in_one_line(words, reason):
    with pytest.raises(UserError, match=reason) as refused:
        parse(["hp=logits", *words.split()] if not words.startswith("hp=") else words.split())
    assert "\n" not in str(refused.value)


def test_epsilon_that_does_nothing_is_said(capsys):
    assert parse(["hp=gru", "hp.epsilon_greedy=0.2"]).hp.exploration == 0.0
    assert "hp.epsilon_greedy=0.2 does nothing with hp.actor.model=gru" in capsys.readouterr().err
    assert parse(["hp=mlp", "hp.epsilon_greedy=0.2"]).hp.exploration == 0.2
    assert not capsys.readouterr().err


def test_keys_that_the_original_needed_a_plus_for():
    hp = parse(["hp=logits", "+hp.actor.train.inf_weight=0.4", "+hp.actor.train.lr_loss_agent=0.5"]).hp
    assert hp.actor.train.inf_weight == hp.objective.inf_weight == 0.4
    assert hp.actor.train.lr_loss_agent == 0.5
