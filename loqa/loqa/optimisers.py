"""How gradients become parameters: clipping, one or two optimisers of the actor, the soft target (spec section 5.6)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from common.cli import UserError
from loqa.losses import ActorLosses

Params = Any
_MAKERS = {"adam": optax.adam, "sgd": optax.sgd}


def make(kind: str, learning_rate: float) -> optax.GradientTransformation:
    """`adam` (b1 0.9, b2 0.999, eps 1e-8) or `sgd` (no momentum). Raises UserError for another kind."""
    if kind not in _MAKERS:
        raise UserError(f"unknown optimizer {kind!r}; there are {', '.join(_MAKERS)}")
    return _MAKERS[kind](learning_rate)


def clip(tree: Params, mode: str, max_norm: float) -> tuple[Params, jax.Array]:
    """Scale a gradient down to a global norm (mode `norm`), or leave it (`disabled`).

    Returns:
        The gradient, unchanged when its norm is below `max_norm`, and its norm before, a scalar.
    """
    norm = optax.tree.norm(tree)
    if mode == "disabled":
        return tree, norm
    fits = norm < max_norm
    safe = jnp.where(fits, 1.0, norm)
    return jax.tree.map(lambda leaf: jnp.where(fits, leaf, leaf / safe * max_norm), tree), norm


def soft_update(target: Params, params: Params, decay: float) -> Params:
    """decay * target + (1 - decay) * params, leaf by leaf."""
    return jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, target, params)


class ActorState(NamedTuple):
    """Optimiser states; `opponent` is empty with one optimiser."""

    agent: Any
    opponent: Any


class ActorReport(NamedTuple):
    """What an actor update says of itself: its losses and the norms of g_a and g_o (NaN unless asked for)."""

    losses: ActorLosses
    agent_norm: jax.Array
    opponent_norm: jax.Array


@dataclass(frozen=True)
class ActorOptimiser:
    """Applies the actor's gradients g_a (of loss_agent + beta entropy) and g_o (of loss_opponent) to all parameters.

    Args:
        kind: `adam` or `sgd`.
        agent_lr: learning rate of the optimiser; with `separate` that of g_a.
        opponent_lr: that of g_o, only read with `separate`.
        separate: False: g_a + w g_o is clipped and given to one optimiser. True: both are clipped for themselves
            and given to an optimiser each; both updates are made at the old parameters.
        entropy_beta, weight: beta and w (w plays no part with `separate`).
        clip_mode, max_norm: as in `clip`.
        exclude_after: no shaping in iterations after this one.
        shaping: False for a naive learner, which never shapes.
    """

    kind: str
    agent_lr: float
    opponent_lr: float = 0.0
    separate: bool = False
    entropy_beta: float = 0.0
    weight: float = 1.0
    clip_mode: str = "disabled"
    max_norm: float = 1.0
    exclude_after: float = 1e9
    shaping: bool = True

    def init(self, params: Params) -> ActorState:
        """Fresh optimiser states for `params`."""
        opponent = make(self.kind, self.opponent_lr).init(params) if self.separate else ()
        return ActorState(make(self.kind, self.agent_lr).init(params), opponent)

    def update(
        self,
        losses: Callable[[Params], ActorLosses],
        params: Params,
        state: ActorState,
        iteration: jax.Array | int,
        norms: jax.Array | bool = True,
    ) -> tuple[Params, ActorState, ActorReport]:
        """One step.

        Args:
            losses: parameters -> `ActorLosses`.
            iteration: number of this iteration, for `exclude_after`.
            norms: whether the report needs the two norms. With one optimiser they cost a second backward pass, so a
                program asks for them only where it logs; may be traced.
        """
        values, backward = jax.vjp(losses, params)
        shaping = jnp.logical_and(self.shaping, iteration <= self.exclude_after)
        step = self._step_two if self.separate else self._step_one
        params, state, (agent_norm, opponent_norm) = step(backward, params, state, shaping, norms)
        return params, state, ActorReport(values, agent_norm, opponent_norm)

    def _pull(self, backward, agent, opponent) -> Params:
        """The gradient of agent * (loss_agent + beta entropy) + opponent * loss_opponent."""
        agent, opponent = (jnp.asarray(weight, jnp.float32) for weight in (agent, opponent))
        return backward(ActorLosses(agent, opponent, self.entropy_beta * agent))[0]

    def _step_one(self, backward, params, state, shaping, norms):
        weight = jnp.where(shaping, self.weight, 0.0)

        def apart():
            own, other = self._pull(backward, 1.0, 0.0), self._pull(backward, 0.0, 1.0)
            together = jax.tree.map(lambda a, o: a + weight * o, own, other)
            return together, (optax.tree.norm(own), optax.tree.norm(other))

        def at_once():
            unknown = jnp.float32(jnp.nan)
            return self._pull(backward, 1.0, weight), (unknown, unknown)

        gradient, measured = jax.lax.cond(norms, apart, at_once)
        gradient, _ = clip(gradient, self.clip_mode, self.max_norm)
        updates, agent = make(self.kind, self.agent_lr).update(gradient, state.agent, params)
        return optax.apply_updates(params, updates), ActorState(agent, ()), measured

    def _step_two(self, backward, params, state, shaping, norms):
        del norms  # both gradients are there anyway
        own, _ = clip(self._pull(backward, 1.0, 0.0), self.clip_mode, self.max_norm)
        other, _ = clip(self._pull(backward, 0.0, 1.0), self.clip_mode, self.max_norm)
        own_updates, agent = make(self.kind, self.agent_lr).update(own, state.agent, params)
        other_updates, opponent = make(self.kind, self.opponent_lr).update(other, state.opponent, params)
        # DEVIATION(Q9): without shaping (a naive learner, or after `exclude_after`) the second update and its
        # optimiser's state are left out; the original applied them all the same.
        updates = jax.tree.map(lambda a, o: a + jnp.where(shaping, o, 0.0), own_updates, other_updates)
        opponent = jax.tree.map(lambda new, old: jnp.where(shaping, new, old), opponent, state.opponent)
        measured = (optax.tree.norm(own), optax.tree.norm(other))
        return optax.apply_updates(params, updates), ActorState(agent, opponent), measured
