"""Players of the league as data: a policy (how it acts) and its parameters (which agent it is).

A policy is a frozen, hashable value with three pure functions over a batch of B games:

    start(params, batch) -> memory             its recurrent state before the first step
    draw(keys [T, B, 2]) -> noise              a tree of arrays [T, B, ...] from one random key a step and game
    act(params, memory, view, seat, noise of the step) -> (memory, actions [B] int32)

Two agents with the same policy and the same shapes of parameters share
one compiled program, and their parameters can be stacked and mapped over.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from loqa.coin import agents as coin
from loqa.coin import scripted
from loqa.coin.game import N_ACTIONS, CoinGame, GameState, scope

Params = Any

#: order in which families enter the league, as in the paper's; others stand after LOQA-noSP
FAMILIES = ("LOQA", "POLA", "LOQA-noRB", "LOQA-noSP", "M-FOS", "AD", "AC", "Random")
SCRIPTED_FAMILIES = ("AD", "AC", "Random")


class View(NamedTuple):
    """What a player may use at one step of B games."""

    state: GameState
    observation: jax.Array  # [B, D], its own flat observation
    rewards: jax.Array  # [B, 2], of the step before (0 at the start): its own, the other's


@dataclass(frozen=True)
class Agent:
    """One player: `params` is a tree of NumPy arrays, `digest` the SHA-256 of its file ("" for a scripted player)."""

    name: str
    family: str
    policy: Any
    params: Params
    digest: str = ""

    @property
    def trained(self) -> bool:
        """Whether it learned, or follows a script."""
        return self.family not in SCRIPTED_FAMILIES

    def signature(self) -> tuple:
        """Agents with equal signatures can be stacked."""
        leaves, structure = jax.tree.flatten(self.params)
        return self.policy, str(structure), tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def gumbel(keys: jax.Array) -> jax.Array:
    """Noise [T, B, A] from keys [T, B, 2]: `sample` with it draws what `jax.random.categorical` draws with the key."""
    return _each(lambda key: jax.random.gumbel(key, (N_ACTIONS,)), keys)


def sample(noise: jax.Array, logits: jax.Array) -> jax.Array:
    """Actions [B] int32 from `gumbel` noise and logits, [B, A] each."""
    return jnp.argmax(noise + logits, axis=-1).astype(jnp.int32)


def _each(draw, keys: jax.Array):
    """`draw(key)` for every key of [T, B, 2]."""
    return jax.vmap(jax.vmap(draw))(keys)


@dataclass(frozen=True)
class RecurrentPolicy:
    """Samples from a recurrent block; `order[a]` is the network's output that stands for our action a."""

    order: tuple[int, ...] = tuple(range(N_ACTIONS))

    #: POLA's actions are right, left, down, up where ours are left, right, up, down
    POLA_ORDER: ClassVar = (1, 0, 3, 2)

    def start(self, params: Params, batch: int) -> jax.Array:
        """Zero state [B, H]."""
        return jnp.zeros((batch, coin.hidden_size(params)))

    def logits(self, params: Params, memory: jax.Array, observation: jax.Array):
        """State [B, H] and observation [B, D] -> next state, logits [B, A] in our order of actions."""
        memory, outputs = coin.head_step(params, memory, observation)
        return memory, outputs[:, np.array(self.order)]

    def draw(self, keys: jax.Array) -> jax.Array:
        """See the head of this file."""
        return gumbel(keys)

    def act(self, params: Params, memory, view: View, seat: int, noise: jax.Array):
        """See the head of this file; observations are egocentric, so the seat plays no part."""
        del seat
        memory, logits = self.logits(params, memory, view.observation)
        return memory, sample(noise, logits)


@dataclass(frozen=True)
class ScriptedPolicy:
    """Always defect, always cooperate or uniformly random; `params` is the number of the script (0, 1, 2).

    Ties between equally distant actions are broken anew at every step, by the stream that the original's league uses
    for both scripts (spec 7, Q12: the evaluations during training break them once an episode).
    """

    game: CoinGame

    def start(self, params: Params, batch: int) -> tuple:
        """No memory."""
        del params, batch
        return ()

    def draw(self, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Ranks that break ties [T, B, A], and uniform actions [T, B]."""
        ranks = _each(lambda key: scripted.tie_ranks(scope(key, scripted.COOPERATE_STREAM)), keys)
        return ranks, _each(lambda key: scripted.random_actions(key, ()), keys)

    def act(self, params: Params, memory, view: View, seat: int, noise: tuple[jax.Array, jax.Array]):
        """See the head of this file."""
        ranks, anything = noise
        defect = scripted.always_defect(self.game, view.state, seat, ranks)
        cooperate = scripted.always_cooperate(self.game, view.state, seat, ranks)
        return memory, jnp.stack([defect, cooperate, anything])[params]


def scripted_agents(game: CoinGame) -> list[Agent]:
    """The three players that need no file, in league order."""
    policy = ScriptedPolicy(game)
    names = ("Always Defect", "Always Cooperate", "random")
    return [
        Agent(name, family, policy, np.int32(number))
        for number, (name, family) in enumerate(zip(names, SCRIPTED_FAMILIES, strict=True))
    ]


def league_order(agents: list[Agent]) -> list[Agent]:
    """Agents by family as the paper lists them, in the given order within a family."""

    def rank(agent: Agent) -> float:
        after = FAMILIES.index("LOQA-noSP") + 0.5
        return FAMILIES.index(agent.family) if agent.family in FAMILIES else after

    return sorted(agents, key=rank)
