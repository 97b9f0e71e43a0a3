"""The Incentive Designer between two episodes: what it remembers, and when it learns (spec 5.4, 5.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from iqflow.alg import incentive_designer_ac, incentive_designer_pg
from iqflow.alg.episodes import Episode
from iqflow.config.loading import Settings
from iqflow.networks.layers import Sizes
from iqflow.trainer.rollout import Record


class Memory(NamedTuple):
    """A designer, the previous episode and the policies that made it; `models` are () unless it is decentralised."""

    designer: Any
    models: Any
    old_actors: Any
    old: Episode
    objective: jax.Array  # J (policy gradient) or J + reg_coeff K (actor-critic) of the last update
    cost: jax.Array  # K of the last update


def _no_episode(sizes: Sizes, steps: int) -> Episode:
    n, shape = sizes.n_agents, sizes.observation_shape
    seen = jnp.zeros((steps, n, *shape))
    numbers = jnp.zeros((steps, n))
    return Episode(seen, jnp.zeros((steps, n), jnp.int32), numbers, seen, numbers, jnp.zeros(steps))


@dataclass(frozen=True)
class IncentiveDesigner:
    """Either variant, by its module.

    Attributes:
        variant: `incentive_designer_pg` or `incentive_designer_ac`; rule: its `Designer`.
        decentralized: the designer models the followers instead of reading their parameters.
        max_steps: T of the remembered episode.
    """

    variant: Any
    rule: Any
    decentralized: bool
    max_steps: int

    def init(self, key: jax.Array) -> Memory:
        designer_key, model_key = jax.random.split(key)
        template = incentive_designer_pg.init_models(self._modeller, model_key)
        models = template if self.decentralized else ()
        empty = jax.tree.map(jnp.zeros_like, template.actors)
        nothing = _no_episode(self.rule.sizes, self.max_steps)
        designer = self.variant.init(self.rule, designer_key)
        return Memory(designer, models, empty, nothing, jnp.float32(0), jnp.float32(0))

    @property
    def _modeller(self) -> incentive_designer_pg.Designer:
        """Whose models of followers have the right shapes; the actor-critic variant has none of its own."""
        if isinstance(self.rule, incentive_designer_pg.Designer):
            return self.rule
        rule = self.rule
        return incentive_designer_pg.Designer(
            rule.sizes, rule.gamma, rule.entropy_coeff, rule.lr_actor, rule.lr_reward
        )

    def incentives(self, state: Memory, observations: jax.Array, actions: jax.Array) -> jax.Array:
        return self.variant.incentives(self.rule, state.designer.rewarder, observations, actions)

    def learn(self, state: Memory, record: Record, agents: Any, step: jax.Array, key: jax.Array) -> Memory:
        """One update from the second episode on, then remember this episode and the policies that made it."""
        new = record.episode
        critics = (agents.critic,) if self.variant is incentive_designer_ac else ()
        designer, losses = self.variant.update(
            self.rule, state.designer, state.old_actors, *critics, state.old, new
        )
        designer = jax.tree.map(lambda a, b: jnp.where(step > 0, a, b), designer, state.designer)
        models, actors = state.models, agents.actor
        if self.decentralized:
            actors = models.actors
            models, _ = incentive_designer_pg.update_models(self.rule, models, new)
        return Memory(designer, models, actors, new, losses[0], losses.cost)

    def rewarder(self, state: Memory) -> Any:
        return state.designer.rewarder

    def learned(self, state: Memory) -> Any:
        return state.designer

    def detail(self, state: Memory) -> dict[str, jax.Array]:
        return {"objective": state.objective, "cost": state.cost}


def make(settings: Settings, sizes: Sizes, clean_action: int | None) -> IncentiveDesigner:
    """The designer of a configuration."""
    method, env = settings.method, settings.env
    common = {
        "sizes": sizes,
        "gamma": method.gamma,
        "entropy_coeff": method.entropy_coeff,
        "lr_actor": method.lr_actor,
        "lr_reward": method.lr_reward,
        "reg_coeff": method.reg_coeff,
        "r_multiplier": env.r_multiplier,
    }
    if settings.kind == "ssd":
        rule = incentive_designer_ac.Designer(
            **common,
            lr_v_model=method.lr_v_model,
            tau=method.tau,
            clean_action=clean_action if env.obs_cleaned_1hot else None,
        )
        return IncentiveDesigner(incentive_designer_ac, rule, False, env.max_steps)
    rule = incentive_designer_pg.Designer(
        **common,
        lr_cost=method.lr_cost,
        separate_cost_optimizer=method.separate_cost_optimizer,
        optimizer=method.optimizer,
    )
    return IncentiveDesigner(incentive_designer_pg, rule, method.decentralized, env.max_steps)
