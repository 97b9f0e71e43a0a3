"""The configuration of `three_player_coin_train.py`: the keys of `coin_train.py`, as far as three players have a use for them."""

from __future__ import annotations

from collections.abc import Sequence

from common.cli import UserError
from loqa import settings
from loqa.coin import config as coin
from loqa.settings import Launch

PROGRAM = "three_player_coin_train.py"


def check(hp: coin.Hp) -> None:
    """Refuse what cannot be. Raises: UserError."""
    if hp.game.height * hp.game.width <= 3:
        raise UserError(
            f"hp.game.height={hp.game.height} hp.game.width={hp.game.width}: a coin needs a cell that none of the "
            "three players stands on, so the board needs more than 3"
        )
    if not hp.just_self_play:
        raise UserError("hp.just_self_play=False: with three players one set of parameters plays every seat")
    coin.check(hp)


def parse(argv: Sequence[str] | None = None) -> Launch:
    """A command line, understood and checked; see `loqa.settings.read`.

    Raises:
        UserError: an unknown key, a value out of range, keys that do not go together.
    """
    launch = settings.read(argv, program=PROGRAM, root="coin", hp_type=coin.Hp, dead=coin.DEAD)
    check(launch.hp)
    return launch
