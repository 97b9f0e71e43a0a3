"""Cleanup as an environment, and its centralised variant (spec 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from iqflow.env.cleanup import drawing, maps, movement, rules

#: exposed action -> one of the nine, by (disable_left_right_action, disable_rotation_action)
ACTIONS = {
    (False, True): (0, 1, 2, 3, 4, 8),
    (True, True): (2, 3, 4, 8),
    (True, False): (2, 3, 4, 5, 6, 8),
    (False, False): (0, 1, 2, 3, 4, 5, 6, 8),
}


class CleanupState(NamedTuple):
    """One game; 42 bytes with two agents on the 7 x 7 map, 102 on the 10 x 10 map."""

    apples: jax.Array  # bool [apples]: which apple cells hold one, in row-major order
    waste: jax.Array  # bool [wastes]: which river cells are dirty, in row-major order
    position: jax.Array  # uint8 [N, 2]: (row, column)
    orientation: jax.Array  # uint8 [N]: 0 up, 1 right, 2 down, 3 left
    beam: jax.Array  # bool [height - 2, width - 2]: inner cells that a beam entered in the last step
    time: jax.Array  # int32 []: steps played


class CleanupInfo(NamedTuple):
    """What else a step tells."""

    n_cleaned: jax.Array  # int32 [N]: waste cells that every agent removed


class SpawnDraws(NamedTuple):
    """Randomness of one spawning phase, uniform in [0, 1)."""

    apple: jax.Array  # [apples]: an apple grows where it is below the probability
    waste_order: jax.Array  # [wastes]: river cells are tried in ascending order of it
    waste: jax.Array  # [wastes]: a tried cell gets dirty where it is below the probability


class StepDraws(NamedTuple):
    """Randomness of one step."""

    priority: jax.Array  # [N] uniform: the smallest goes first where a cell is contested
    spawn: SpawnDraws


@dataclass(frozen=True)
class Cleanup:
    """The game's rules; the defaults are the paper's 7 x 7 game (`config_ssd_qflow`).

    Attributes:
        rows: the map as text (`maps.LEGEND`).
        n_agents: 1 to 9. Agents beyond the number of spawn points start on plain floor, which the original does not offer.
        view_size: v; an agent sees 2 v + 1 by 2 v + 1 cells.
        beam_width: odd; 1 has the centre line only, w has two more lines (w - 1) / 2 cells beside it.
        global_ref_point: (row, column) in the middle of everybody's window instead of the agent.

    Raises:
        UserError: a map that can't be used, more agents than cells, or a value out of range.
    """

    rows: tuple[str, ...] = maps.MAPS["cleanup_small_sym"]
    n_agents: int = 2
    max_steps: int = 50
    view_size: int = 4
    beam_width: int = 3
    cleaning_penalty: float = 0.0
    disable_left_right_action: bool = False
    disable_rotation_action: bool = True
    global_ref_point: tuple[int, int] | None = None
    random_orientation: bool = False
    shuffle_spawn: bool = False
    apple_respawn_probability: float = 0.5
    waste_spawn_probability: float = 0.5
    threshold_depletion: float = 0.6
    threshold_restoration: float = 0.0

    def __post_init__(self):
        layout = maps.layout(self.rows)
        if not 1 <= self.n_agents <= drawing.MOST_AGENTS:
            raise UserError(
                f"n_agents is {self.n_agents}; Cleanup has colours for 1 to {drawing.MOST_AGENTS} agents"
            )
        places = len(layout.spawn_cells) + len(layout.floor_cells)
        if self.n_agents > places:
            raise UserError(
                f"{self.n_agents} agents do not fit: the map has {places} cells to start on (P or floor)"
            )
        for name, least in (("max_steps", 1), ("view_size", 0), ("beam_width", 1), ("cleaning_penalty", 0)):
            if not getattr(self, name) >= least:
                raise UserError(f"{name} is {getattr(self, name)}; it has to be at least {least}")
        if self.beam_width % 2 == 0:
            raise UserError(f"beam_width is {self.beam_width}; it has to be odd")
        for name in ("apple_respawn_probability", "waste_spawn_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it has to be 0 to 1")
        if not self.threshold_restoration <= self.threshold_depletion:
            raise UserError(
                f"threshold_restoration {self.threshold_restoration} lies above threshold_depletion "
                f"{self.threshold_depletion}; it has to be the lower one"
            )
        if self.global_ref_point is not None:
            row, column = self.global_ref_point
            if not (0 <= row < layout.height and 0 <= column < layout.width):
                raise UserError(
                    f"global_ref_point {self.global_ref_point} lies outside the map of {layout.height} by "
                    f"{layout.width} cells"
                )

    # --- sizes ---------------------------------------------------------------------------------------------------

    @property
    def layout(self) -> maps.Layout:
        return maps.layout(self.rows)

    @property
    def actions(self) -> tuple[int, ...]:
        """Which of the nine actions (`rules.MOVES`) every exposed action is."""
        return ACTIONS[self.disable_left_right_action, self.disable_rotation_action]

    @property
    def n_actions(self) -> int:
        return len(self.actions)

    @property
    def clean_action(self) -> int:
        """The exposed action that fires the cleaning beam."""
        return self.actions.index(rules.CLEAN)

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        side = 2 * self.view_size + 1
        return side, side, 3

    @property
    def always_up(self) -> bool:
        """Whether nobody can ever face anywhere but up the map."""
        return self.disable_rotation_action and not self.random_orientation

    # --- randomness ----------------------------------------------------------------------------------------------

    def _spawn_draws(self, uniform: jax.Array) -> SpawnDraws:
        apples, wastes = len(self.layout.apple_cells), len(self.layout.waste_cells)
        return SpawnDraws(uniform[:apples], uniform[apples : apples + wastes], uniform[apples + wastes :])

    def draw(self, key: jax.Array) -> StepDraws:
        """The randomness of one step."""
        spawn = len(self.layout.apple_cells) + 2 * len(self.layout.waste_cells)
        uniform = jax.random.uniform(key, (self.n_agents + spawn,))
        return StepDraws(uniform[: self.n_agents], self._spawn_draws(uniform[self.n_agents :]))

    def _start_cells(self, key: jax.Array) -> jax.Array:
        """Cells int32 [N] where the agents start: spawn points as long as there are any, then floor."""
        lists = [jnp.asarray(cells) for cells in (self.layout.spawn_cells, self.layout.floor_cells)]
        if self.shuffle_spawn:
            keys = jax.random.split(key)
            lists = [jax.random.permutation(one, cells) for one, cells in zip(keys, lists, strict=True)]
        return jnp.concatenate(lists)[: self.n_agents]

    # --- the game ------------------------------------------------------------------------------------------------

    def reset(self, key: jax.Array) -> tuple[CleanupState, jax.Array]:
        """First state and observations [N, 2 v + 1, 2 v + 1, 3]."""
        place_key, orientation_key, spawn_key = jax.random.split(key, 3)
        cell = self._start_cells(place_key)
        orientation = jnp.zeros(self.n_agents, jnp.int32)
        if self.random_orientation:
            orientation = jax.random.randint(orientation_key, (self.n_agents,), 0, 4)
        state = self.start(
            jnp.stack(jnp.divmod(cell, self.layout.width), axis=-1), orientation, self.draw(spawn_key).spawn
        )
        return state, self.observe(state)

    def start(self, position: jax.Array, orientation: jax.Array, draws: SpawnDraws) -> CleanupState:
        """The first state with agents at `position` [N, 2], `orientation` [N], after one spawning phase."""
        state = CleanupState(
            apples=jnp.zeros(len(self.layout.apple_cells), bool),
            waste=jnp.asarray(self.layout.dirty),
            position=position.astype(jnp.uint8),
            orientation=orientation.astype(jnp.uint8),
            beam=jnp.zeros((self.layout.height - 2, self.layout.width - 2), bool),
            time=jnp.int32(0),
        )
        return self.spawn(state, draws)

    def step(self, key: jax.Array, state: CleanupState, actions: jax.Array):
        """One step with actions int32 [N].

        Returns: next state, observations float32 [N, 2 v + 1, 2 v + 1, 3], rewards float32 [N], done bool [], `CleanupInfo`.
        """
        state, rewards, done, info = self.play(self.draw(key), state, actions)
        return state, self.observe(state), rewards, done, info

    def play(self, draws: StepDraws, state: CleanupState, actions: jax.Array):
        """One step whose randomness is given, without observations: next state, rewards [N], done [], `CleanupInfo`."""
        state = self.move(state, actions, draws.priority)
        state, rewards, info = self.interact(state, actions)
        state = self.spawn(state, draws.spawn)._replace(time=state.time + 1)
        return state, rewards, state.time >= self.max_steps, info

    def _cell(self, state: CleanupState) -> jax.Array:
        return state.position @ jnp.array([self.layout.width, 1], jnp.int32)

    def _orientation(self, state: CleanupState) -> jax.Array:
        return jnp.zeros(self.n_agents, jnp.int32) if self.always_up else state.orientation.astype(jnp.int32)

    def move(self, state: CleanupState, actions: jax.Array, priority: jax.Array) -> CleanupState:
        """The state after movement and turns; `priority` [N]: the smallest goes first where a cell is contested."""
        action, cell, orientation = (
            jnp.asarray(self.actions)[actions],
            self._cell(state),
            self._orientation(state),
        )
        goal = rules.goals(self.layout, cell, orientation, action)
        cell = movement.resolve(cell, goal, action <= rules.STAY, priority)
        position = jnp.stack(jnp.divmod(cell, self.layout.width), axis=-1).astype(jnp.uint8)
        return state._replace(
            position=position, orientation=rules.turned(orientation, action).astype(jnp.uint8)
        )

    def interact(
        self, state: CleanupState, actions: jax.Array
    ) -> tuple[CleanupState, jax.Array, CleanupInfo]:
        """The state after eating and cleaning, rewards float32 [N], and what was cleaned."""
        cell, fires = self._cell(state), actions == self.clean_action
        apples, ate = rules.eat(self.layout, state.apples, cell)
        half = (self.beam_width - 1) // 2
        waste, cleaned, beam = rules.fire(
            self.layout, half, state.waste, cell, self._orientation(state), fires
        )
        rewards = ate.astype(jnp.float32) - self.cleaning_penalty * fires
        return state._replace(apples=apples, waste=waste, beam=beam), rewards, CleanupInfo(cleaned)

    def spawn_probabilities(self, state: CleanupState) -> tuple[jax.Array, jax.Array]:
        """Of a new apple per empty apple cell, and of new waste per trial, float32 []."""
        tables = rules.spawn_table(
            self.layout,
            self.apple_respawn_probability,
            self.waste_spawn_probability,
            self.threshold_depletion,
            self.threshold_restoration,
        )
        dirty = state.waste.sum()
        return tuple(jnp.asarray(table)[dirty] for table in tables)

    def spawn(self, state: CleanupState, draws: SpawnDraws) -> CleanupState:
        """The state after new apples and new waste."""
        apple, waste = self.spawn_probabilities(state)
        return state._replace(
            apples=rules.grow_apples(self.layout, state.apples, self._cell(state), apple, draws.apple),
            waste=rules.add_waste(state.waste, waste, draws.waste_order, draws.waste),
        )

    # --- what is seen --------------------------------------------------------------------------------------------

    def contents(self, state: CleanupState) -> jax.Array:
        """What every cell holds (`maps`: floor, wall, apple, ...), uint8 [height, width]."""
        return drawing.contents(self.layout, state.apples, state.waste)

    def scene(self, state: CleanupState) -> jax.Array:
        """What is drawn in every cell, agents and beams included (`drawing`), uint8 [height, width]."""
        return drawing.scene(self.layout, state.apples, state.waste, self._cell(state), state.beam)

    def observe(self, state: CleanupState) -> jax.Array:
        """Every agent's picture, RGB / 256, float32 [N, 2 v + 1, 2 v + 1, 3]."""
        centre = state.position.astype(jnp.int32)
        if self.global_ref_point is not None:
            centre = jnp.tile(jnp.array([self.global_ref_point], jnp.int32), (self.n_agents, 1))
        orientation = None if self.always_up else self._orientation(state)
        return drawing.windows(self.view_size, self.scene(state), centre, orientation)


@dataclass(frozen=True)
class CentralisedCleanup:
    """One controller for all agents of `base`: it sees what agent 0 sees and is paid the sum (`pg.centralized`).

    An action is a number in base A with agent 0's action as the lowest digit.
    """

    base: Cleanup

    n_agents = 1

    @property
    def n_actions(self) -> int:
        return self.base.n_actions**self.base.n_agents

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        return self.base.observation_shape

    @property
    def max_steps(self) -> int:
        return self.base.max_steps

    def split(self, actions: jax.Array) -> jax.Array:
        """The agents' actions int32 [N] of the controller's actions int32 [1]."""
        weights = self.base.n_actions ** np.arange(self.base.n_agents, dtype=np.int32)
        return actions // weights % self.base.n_actions

    def reset(self, key: jax.Array) -> tuple[CleanupState, jax.Array]:
        """First state and observation [1, 2 v + 1, 2 v + 1, 3]."""
        state, seen = self.base.reset(key)
        return state, seen[:1]

    def step(self, key: jax.Array, state: CleanupState, actions: jax.Array):
        """One step with actions int32 [1]: as `Cleanup.step` with one agent."""
        state, seen, rewards, done, info = self.base.step(key, state, self.split(actions))
        return (
            state,
            seen[:1],
            rewards.sum(keepdims=True),
            done,
            CleanupInfo(info.n_cleaned.sum(keepdims=True)),
        )

    def observe(self, state: CleanupState) -> jax.Array:
        """Agent 0's picture, float32 [1, 2 v + 1, 2 v + 1, 3]."""
        return self.base.observe(state)[:1]


#: names of the paper's configurations (section ``env``) for the fields of `Cleanup`
_PLAIN = (
    "n_agents", "max_steps", "view_size", "beam_width", "cleaning_penalty", "disable_left_right_action",
    "disable_rotation_action", "random_orientation", "shuffle_spawn",
)  # fmt: skip
_SPAWNING = {
    "appleRespawnProbability": "apple_respawn_probability",
    "wasteSpawnProbability": "waste_spawn_probability",
    "thresholdDepletion": "threshold_depletion",
    "thresholdRestoration": "threshold_restoration",
}


def from_config(section: Mapping[str, Any], rows: tuple[str, ...] | None = None) -> Cleanup:
    """The environment of a configuration's section ``env`` in the original's names (spec 2.4); other keys are not looked at.

    Args: `rows` a map to use instead of the one that ``map_name`` names.
    Raises: UserError for a missing key, a window that does not fit ``view_size``, or what `Cleanup` refuses.
    """
    try:
        window = section["view_size"] * 2 + 1
        for name in ("obs_height", "obs_width"):
            if section[name] != window:
                raise UserError(
                    f"{name} is {section[name]}; with view_size {section['view_size']} it is {window}"
                )
        point = section["global_ref_point"]
        return Cleanup(
            rows=maps.named(section["map_name"]) if rows is None else rows,
            global_ref_point=None if point is None else tuple(point),
            **{name: section[name] for name in _PLAIN},
            **{ours: section["cleanup_params"][theirs] for theirs, ours in _SPAWNING.items()},
        )
    except KeyError as error:
        raise UserError(f"the environment's settings lack {error.args[0]}") from None
