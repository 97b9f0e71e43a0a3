"""Command lines become frozen trees, and what nobody reads is refused with one line."""

import dataclasses
from dataclasses import dataclass

import pytest

from common.cli import UserError
from loqa import settings


@dataclass(frozen=True)
class Train:
    lr: float = settings.positive()
    mode: str = settings.choice("mean", "argmax", default="mean")


@dataclass(frozen=True)
class Hp:
    train: Train
    seed: int = settings.at_least(0)
    flag: bool = settings.switch(False)
    share: float = settings.fraction(0.5)


def built(**tree):
    return settings.build(
        Hp, {"seed": 1, "train": {"lr": 0.1}} | tree, "hp", {"hp.old": "is read by nothing"}
    )


def test_a_tree_becomes_a_frozen_dataclass():
    found = built(train={"lr": 1, "mode": "argmax"}, flag=True)
    assert found == Hp(Train(1.0, "argmax"), 1, True, 0.5)
    assert isinstance(found.train.lr, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.seed = 2


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"sed": 1}, "unknown key hp.sed; did you mean hp.seed?"),
        ({"train": {"lr": 0.1, "zzz": 1}}, "unknown key hp.train.zzz; --cfg job prints every key"),
        ({"train": {}}, "hp.train.lr is missing"),
        ({"train": 3}, "hp.train is a block of keys, not 3"),
        ({"train": {"lr": -1}}, "hp.train.lr=-1; it has to be a number above 0"),
        ({"train": {"lr": float("nan")}}, "hp.train.lr=nan; it has to be a number above 0"),
        ({"train": {"lr": True}}, "hp.train.lr=True; it has to be a number above 0"),
        ({"train": {"lr": 1, "mode": "median"}}, "hp.train.mode=median; it has to be mean or argmax"),
        ({"seed": 1.5}, "hp.seed=1.5; it has to be a number from 0 on"),
        ({"seed": "x"}, "hp.seed='x'; it has to be a number from 0 on"),
        ({"flag": "yes"}, "hp.flag='yes'; it has to be True or False"),
        ({"share": 1.1}, "hp.share=1.1; it has to be a number from 0 to 1"),
        ({"old": 1}, "hp.old is read by nothing; leave it out"),
    ],
)
def test_what_cannot_be_is_one_line(tree, says):
    with pytest.raises(UserError) as caught:
        built(**tree)
    assert str(caught.value) == says


ROOTS = {"ipd": "ipd.py", "coin": "coin_train.py"}


def parse(root, *words):
    from loqa.programs import PROGRAMS

    return PROGRAMS[ROOTS[root]](list(words))


@pytest.mark.parametrize("root", ROOTS)
def test_seeds_come_from_the_key_or_the_flags(root):
    assert parse(root, "hp.seed=7").seeds == (7,)
    assert parse(root, "--seed", "8", "hp.seed=7").seeds == (8,)
    several = parse(root, "--seeds", "42-44")
    assert several.seeds == (42, 43, 44) and several.hp.seed == 42
    assert several.identity(43) == parse(root, "hp.seed=43").identity()


@pytest.mark.parametrize("root", ROOTS)
def test_where_things_are_put_does_not_change_what_a_run_is(root):
    plain = parse(root).identity()
    moved = parse(root, "hp.save_dir=elsewhere", "wandb.state=enabled", "wandb.tags=[a,b]", "--device", "cpu")
    assert moved.identity() == plain and moved.wandb.tags == ("a", "b")
    assert parse(root, "hp.max_iterations=5").identity() != plain
    assert parse(root, "jax.jax_threefry_partitionable=True").identity() != plain


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hp.sed=1"], "hp.sed"),
        (["+hp.sed=1"], "unknown key hp.sed; did you mean hp.seed?"),
        (["hp=nonsense"], "nonsense"),
        (["hp.seed"], "'hp.seed' is neither a flag nor an override such as hp.seed=42"),
        (["hp.seed=[1"], "'hp.seed=[1' is no Hydra override"),
        (["+other.key=1"], "unknown key other"),
        (["wandb.sate=enabled"], "wandb.sate"),
        (["wandb.state=on"], "wandb.state=on; it has to be disabled or enabled"),
        (["--seed", "1", "--seeds", "1-2"], "exclude each other"),
        (["--seeds", "3-1"], "can't be read"),
        (["hp.batch_size=-4"], "hp.batch_size=-4"),
        (["hp.eval_every=0"], "hp.eval_every=0"),
        (["hp.max_iterations=-1"], "hp.max_iterations=-1"),
    ],
)
def test_a_wrong_command_line_is_one_line(root, words, says):
    with pytest.raises(UserError) as caught:
        parse(root, *words)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("root", ROOTS)
def test_an_unknown_flag_is_refused_with_the_nearest(root, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(root, "--sedes", "1")
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"{ROOTS[root]}: unknown flag --sedes; did you mean --seeds?\n"


@pytest.mark.parametrize("root", ROOTS)
def test_help_and_the_whole_tree_can_be_printed(root, capsys):
    for words, part in ((["--help"], "Hydra overrides"), (["--cfg", "job", "hp.seed=9"], "seed: 9")):
        with pytest.raises(SystemExit) as caught:
            parse(root, *words)
        assert caught.value.code == 0
        assert part in capsys.readouterr().out
