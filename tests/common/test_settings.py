"""A plain tree becomes a frozen dataclass, and what can't be is one line."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from common import settings
from common.cli import UserError


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
    shift: float = settings.number(0.0)
    name: str = settings.text("")
    sizes: tuple[int, ...] = settings.rule(lambda value: len(value) == 2, "two whole numbers", (1, 2))
    table: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def built(**tree):
    whole = {"seed": 1, "train": {"lr": 0.1}, "table": {}} | tree
    return settings.build(Hp, whole, "hp", {"hp.old": "is read by nothing"})


def test_a_tree_becomes_a_frozen_dataclass():
    found = built(train={"lr": 1, "mode": "argmax"}, flag=True, seed=2.0, sizes=[3, 4], table={7: ["a", 8]})
    assert found == Hp(Train(1.0, "argmax"), 2, True, 0.5, sizes=(3, 4), table={"7": ("a", "8")})
    assert isinstance(found.train.lr, float) and isinstance(found.seed, int)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.seed = 2


def test_a_number_is_text_where_text_is_wanted():
    assert built(name=2024).name == "2024"


def test_keys_can_have_names_of_their_own_and_the_tree_no_name():
    def key_of(item):
        return item.name.upper()

    assert settings.build(Train, {"LR": 2}, key_of=key_of) == Train(2.0)
    with pytest.raises(UserError, match=r"^unknown key MOD; did you mean MODE\?$"):
        settings.build(Train, {"LR": 2, "MOD": 2}, key_of=key_of)


def test_a_value_without_a_field():
    assert settings.value_of("a.b", {"c": [1]}, Mapping[str, Any]) == {"c": [1]}
    with pytest.raises(UserError, match="^a.b='x'; it has to be a whole number$"):
        settings.value_of("a.b", "x", int)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"sed": 1}, "unknown key hp.sed; did you mean hp.seed?"),
        ({"train": {"lr": 0.1, "zzz": 1}}, "unknown key hp.train.zzz; there are lr, mode"),
        ({"train": {}}, "hp.train.lr is missing"),
        ({"train": 3}, "hp.train is a block of keys, not 3"),
        ({"train": {"lr": -1}}, "hp.train.lr=-1; it has to be a number above 0"),
        ({"train": {"lr": float("nan")}}, "hp.train.lr=nan; it has to be a number above 0"),
        ({"train": {"lr": True}}, "hp.train.lr=True; it has to be a number above 0"),
        ({"train": {"lr": 1, "mode": "median"}}, "hp.train.mode=median; it has to be mean or argmax"),
        ({"seed": 1.5}, "hp.seed=1.5; it has to be a number from 0 on"),
        ({"seed": "x"}, "hp.seed='x'; it has to be a number from 0 on"),
        ({"flag": "yes"}, "hp.flag='yes'; it has to be true or false"),
        ({"share": 1.1}, "hp.share=1.1; it has to be a number from 0 to 1"),
        ({"shift": float("inf")}, "hp.shift=inf; it has to be a finite number"),
        ({"name": True}, "hp.name=True; it has to be text"),
        ({"sizes": [1, True]}, "hp.sizes=[1, True]; it has to be two whole numbers"),
        ({"sizes": [1]}, "hp.sizes=[1]; it has to be two whole numbers"),
        ({"table": 3}, "hp.table=3; it has to be a block of keys"),
        ({"old": 1}, "hp.old is read by nothing; leave it out"),
    ],
)
def test_what_cannot_be_is_one_line(tree, says):
    with pytest.raises(UserError) as caught:
        built(**tree)
    assert str(caught.value) == says
