"""Playing one episode of the Coin Game with trained or scripted players, for a film."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common import checkpoints
from common.cli import UserError
from pola.dice import scripted, storage
from pola.dice.coin_game import CoinGame
from pola.dice.networks import Params, init_params
from pola.dice.rollout import make_player
from pola.film.drawing import Episode

#: who sits opposite, by the numbers of `pola.dice.scripted`
SCRIPTED = {
    "always-defect": scripted.DEFECT,
    "always-cooperate": scripted.COOPERATE,
    "tit-for-tat": scripted.TIT_FOR_TAT,
}
RANDOM = "random"
#: where a checkpoint keeps its agents' policies
POLICIES = "agents/networks/policy/"


@dataclass(frozen=True)
class Trained:
    """The pair of agents of a checkpoint.

    Attributes:
        name: what a film calls each of them.
        game: what they were trained in; steps: the length of its episodes.
        policies: a leading axis of two agents, red and blue; neither was trained in the other's seat.
    """

    name: str
    game: CoinGame
    steps: int
    policies: Params

    def policy(self, seat: int) -> Params:
        """The policy of red (0) or blue (1)."""
        return jax.tree.map(lambda leaf: leaf[seat], self.policies)


def load(path: Path) -> Trained:
    """The agents of a file that ``--save_dir`` wrote.

    Raises:
        UserError: the file is absent, damaged, of another program or game, or does not fit its own settings.
    """
    arrays, meta = checkpoints.load(path)
    if "architecture" not in meta:
        raise UserError(f"{path} does not hold agents; POLA_dice_jax.py --save_dir DIR writes such files")
    config: dict[str, Any] = meta["config"]
    if config["env"] != "coin":
        raise UserError(f"{path} was trained with --env {config['env']}; a film shows the Coin Game")
    game = CoinGame(*(config[name] for name in ("same_coin_reward", "diff_coin_reward", "diff_coin_cost")))
    sizes = game.observation_size, config["hidden_size"], config["layers_before_gru"], game.n_actions
    like = jax.eval_shape(lambda key: jax.vmap(lambda one: init_params(one, *sizes))(key), _two_keys())
    found = {
        name.removeprefix(POLICIES): array for name, array in arrays.items() if name.startswith(POLICIES)
    }
    policies = storage.from_arrays(like, found, str(path))
    return Trained(f"{_algorithm(config)}, epoch {meta['epoch']}", game, config["rollout_len"], policies)


def _two_keys() -> jax.Array:
    return jax.random.split(jax.random.PRNGKey(0))


def _algorithm(config: dict[str, Any]) -> str:
    if config["opp_model"]:
        return "POLA-OM"
    return "POLA-DiCE" if config["outer_beta"] > 0 else "LOLA-DiCE"


def opponent(kind: str, agents: Trained, checkpoint: Path) -> Trained | str:
    """Who plays blue: `self` (the other agent of the pair), one of `SCRIPTED`, `random`, or another file's blue agent.

    Raises:
        UserError: no such file, or one from a game with other rewards.
    """
    if kind in (*SCRIPTED, RANDOM):
        return kind
    if kind == "self":
        return agents
    if not Path(kind).exists():
        known = ", ".join(("self", *SCRIPTED, RANDOM))
        raise UserError(f"opponent {kind!r} is neither {known} nor a file of agents")
    other = load(Path(kind))
    if other.game != agents.game:
        raise UserError(f"{kind} was trained with other rewards than {checkpoint}")
    return other


def play(agents: Trained, other: Trained | str, seed: int, steps: int) -> Episode:
    """One episode of `steps` steps, red played by the agents' first; the same seed gives the same episode."""
    game, me = agents.game, make_player(agents.game, agents.policy(0))
    you = make_player(game, other.policy(1)) if isinstance(other, Trained) else None
    script = scripted.Script(jnp.array([SCRIPTED.get(other, 0)]), 1) if you is None else None

    def step(carry, noise):
        state, hidden, memory, last = carry
        env_noise, gumbel = noise
        index = game.index(state)
        hidden, first = me.step(index, hidden, gumbel[0])
        if you is not None:
            memory, second = you.step(index, memory, gumbel[1])
        elif other == RANDOM:
            second = jnp.argmax(gumbel[1], axis=-1).astype(jnp.int32)
        else:
            memory, second = script.step(game, state, memory, last)
        following, *rewards, _ = game.step(state, env_noise, first, second)
        return (following, hidden, memory, rewards[1]), (following, (first, second), tuple(rewards))

    @jax.jit
    def run(key):
        reset_key, env_key, play_key = jax.random.split(key, 3)
        noise = game.draw(env_key, steps, 1), jax.random.gumbel(play_key, (steps, 2, 1, game.n_actions))
        start = game.reset(reset_key, 1)
        memory = script.start() if you is None else you.start(1)
        carry = start, me.start(1), memory, jnp.zeros((1,))
        return start, jax.lax.scan(step, carry, noise)[1]

    first, (states, actions, rewards) = jax.tree.map(np.asarray, run(jax.random.PRNGKey(seed)))
    every = jax.tree.map(lambda one, rest: np.concatenate([one[None], rest])[:, 0], first, states)
    return Episode(
        names=(agents.name, other if isinstance(other, str) else other.name),
        players=np.stack([every.red, every.blue], axis=1),
        coin=every.coin,
        owner=1 - every.red_coin,
        actions=np.concatenate(actions, axis=1),
        rewards=np.concatenate(rewards, axis=1),
    )
