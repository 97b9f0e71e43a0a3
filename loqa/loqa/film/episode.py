"""Playing one episode of the Coin Game with trained or scripted players, for a film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from loqa import storage
from loqa.coin import agents, rollout, scripted
from loqa.coin.game import CoinGame
from loqa.coin.rollout import Player
from loqa.film.drawing import Episode

SCRIPTED = ("always-cooperate", "always-defect", "random")


@dataclass(frozen=True)
class Trained:
    """An agent of a file, with the board that it was trained on."""

    name: str
    game: CoinGame
    steps: int  # length of its training episodes
    params: agents.Params


def _board(hp: Mapping[str, Any], path: Path) -> tuple[CoinGame, agents.Architecture, int]:
    try:
        game = CoinGame(hp["game"]["height"], hp["game"]["width"])
        actor, q = ((hp[head]["hidden_size"], hp[head]["layers_before_gru"]) for head in ("actor", "qvalue"))
        return game, agents.Architecture(game.observation_size, *actor, *q), hp["game"]["game_length"]
    except (KeyError, TypeError):
        raise UserError(
            f"{path} does not hold agents of the Coin Game; coin_train.py writes such files"
        ) from None


def load(path: Path, which: str = "agent0") -> Trained:
    """One agent of a file ``minimal_state_N``.

    Raises:
        UserError: the file is absent, damaged, of another program, or its parameters do not fit its own settings.
    """
    found, meta = storage.load_agents(path)
    game, sizes, steps = _board(meta["hp"], path)
    if which not in found:
        raise UserError(f"{path} has no {which}; it has {', '.join(sorted(found))}")
    like = {"params": jax.eval_shape(lambda: agents.init(sizes, jax.random.PRNGKey(0)))}
    tree = storage.from_arrays(like, storage.to_arrays(found[which]), str(path))
    return Trained(f"LOQA, iteration {meta['iteration']}", game, steps, tree["params"])


def learned(agent: Trained) -> Player:
    """A trained agent, in either seat: observations are egocentric."""
    return rollout.neural(agent.params, 1)


def scripted_player(kind: str, game: CoinGame, seat: int, key: jax.Array) -> Player:
    """One of `SCRIPTED`; ties between actions are broken alike during the episode."""
    if kind == "random":
        return Player(
            (), lambda carry, state, seen, gumbel: (carry, jnp.argmax(gumbel, -1).astype(jnp.int32), ())
        )
    rule = scripted.always_defect if kind == "always-defect" else scripted.always_cooperate
    return rollout.scripted(game, rule, seat, scripted.tie_ranks(key)[None])


def opponent(kind: str, agent: Trained, checkpoint: Path) -> Trained | str:
    """Who sits opposite: `self`, one of `SCRIPTED`, or an agent file.

    Raises:
        UserError: no such file, or one from another board.
    """
    if kind in SCRIPTED:
        return kind
    if kind == "self":
        return agent
    if not Path(kind).exists():
        raise UserError(f"opponent {kind!r} is neither self, {', '.join(SCRIPTED)} nor a file of agents")
    other = load(Path(kind))
    if other.game != agent.game:
        boards = [f"{one.game.height} x {one.game.width}" for one in (other, agent)]
        raise UserError(f"{kind} was trained on a board of {boards[0]}, {checkpoint} on one of {boards[1]}")
    return other


def play(agent: Trained, other: Trained | str, seed: int, steps: int) -> Episode:
    """One episode of `steps` steps, the agent in the first seat; the same seed gives the same episode."""
    game = agent.game

    @jax.jit
    def run(key):
        key, script_key = jax.random.split(key)
        second = scripted_player(other, game, 1, script_key) if isinstance(other, str) else learned(other)
        noise = rollout.draw_noise(game, rollout.episode_keys(key, 1), steps)
        return rollout.play(game, (learned(agent), second), noise)

    states, actions, rewards, _ = jax.tree.map(
        lambda leaf: np.asarray(leaf)[:, 0], run(jax.random.PRNGKey(seed))
    )
    names = agent.name, other if isinstance(other, str) else other.name
    return Episode(
        game.height, game.width, names, states.players, states.coin, states.owner, actions, rewards
    )
