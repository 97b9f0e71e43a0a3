"""A trained mechanism from a file, to pay followers that it was not trained with (result 4; spec 7.20)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from common.cli import UserError
from iqflow.config.loading import Settings, map_rows, resolve
from iqflow.trainer import mechanisms, storage
from iqflow.trainer.building import make_env
from iqflow.utils import trees


def load(path: str | Path, settings: Settings) -> mechanisms.Frozen:
    """The mechanism in a file ``agents/agents_<episode>``, for a run of another configuration.

    Raises:
        UserError: the file is absent, damaged or of a run without a mechanism, or it is for another game, map or number
            of agents.
    """
    agents, meta = storage.load_agents(Path(path))
    if "mechanism" not in agents:
        raise UserError(f"{path} has no mechanism: it was trained with --alg {meta['alg']}")
    trained = resolve(str(path), meta["config"], meta["alg"], meta["exp"])
    _check_same_game(str(path), trained, settings)
    source = mechanisms.make(trained, make_env(trained))
    like = jax.eval_shape(lambda: source.rewarder(source.init(jax.random.PRNGKey(0))))
    parameters = trees.from_arrays(like, trees.to_arrays(agents["mechanism"]), str(path))
    return mechanisms.Frozen(source.rule.incentive_net, parameters)


def _check_same_game(path: str, trained: Settings, settings: Settings) -> None:
    theirs, ours = _game(trained), _game(settings)
    for name, (value, word) in theirs.items():
        other, other_word = ours.get(name, (None, "absent"))
        if other != value:
            raise UserError(
                f"{path} was trained with {name} {word}, and here it is {other_word}: another game or map"
            )


def _game(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """What observations and actions mean: name -> (what is compared, what is said)."""
    env = make_env(settings)
    game = {
        "--exp": settings.exp,
        "n_agents": env.n_agents,
        "n_actions": env.n_actions,
        "observation_shape": env.observation_shape,
    }
    game = {name: (value, value) for name, value in game.items()}
    if settings.kind == "ssd":
        game["map_name"] = map_rows(settings.env.map_name), settings.env.map_name
    return game
