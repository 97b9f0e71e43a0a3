"""What players observe and what the oracle asks: memories, numberings, queries and codes (spec 3.1 to 3.3).

A `Protocol` is a frozen description; every engine, environment and referee takes its numbers from here.
Observation 0 is the start of the game. With joint memory both players see the last joint action as
``1 + a0 + A0 * a1``; with small memory each sees only the other's last action, the leader ``1 + a1`` and the
follower ``1 + a0``; without memory everything is 0. The paper calls the two memories *5-state* and *3-state*
after their size with two actions; both work with any number of actions.

Internally a *joint state* is the start or the last joint action, ``1 + a0 + A0 * a1``, whatever the players
see of it: `Protocol.views` maps it to their observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.cli import UserError

MEMORIES = ("none", "3-state", "5-state")
SUMMARIES = ("list", "mean")


def memory_name(memory: bool = True, small_memory: bool = False) -> str:
    """The memory that the original's pair of switches means."""
    return ("3-state" if small_memory else "5-state") if memory else "none"


def observation_counts(memory: str, actions: tuple[int, int]) -> tuple[int, int]:
    """Numbers of observations (leader, follower) of a game with `actions` = (A0, A1) actions.

    Raises:
        UserError: unknown memory.
    """
    leader_actions, follower_actions = actions
    if memory == "none":
        return 1, 1
    if memory == "3-state":
        return 1 + follower_actions, 1 + leader_actions
    if memory == "5-state":
        return 1 + leader_actions * follower_actions, 1 + leader_actions * follower_actions
    raise UserError(f"unknown memory {memory!r}; there are {', '.join(MEMORIES)}")


def joint_views(memory: str, actions: tuple[int, int]) -> np.ndarray:
    """``[1 + A0 * A1, 2]``: what (leader, follower) observe in each joint state."""
    observation_counts(memory, actions)
    leader_actions, follower_actions = actions
    states = np.arange(leader_actions * follower_actions)
    own, other = states % leader_actions, states // leader_actions
    played = {
        "none": np.zeros((states.size, 2), dtype=np.int64),
        "3-state": np.stack([1 + other, 1 + own], axis=1),
        "5-state": np.stack([1 + states, 1 + states], axis=1),
    }[memory]
    return np.concatenate([np.zeros((1, 2), dtype=np.int64), played])


def mixed_radix(digits: Sequence[int], radices: Sequence[int]) -> int:
    """One number from digits, the first the most significant (spec 3.3).

    Raises:
        ValueError: a digit outside its radix.
    """
    code = 0
    for digit, radix in zip(digits, radices, strict=True):
        if not 0 <= digit < radix:
            raise ValueError(f"digit {digit} does not fit in radix {radix}")
        code = code * radix + int(digit)
    return code


@dataclass(frozen=True)
class Protocol:
    """How one leader episode goes: Q queries to the leader, then H steps of the game.

    Attributes:
        memory: ``"none"``, ``"3-state"`` or ``"5-state"`` (module docstring).
        episode_length: H, the game's steps.
        queries: the leader observations that the oracle asks about, in order; None asks about all of them.
        n_samples: how often each query is asked.
        samples_summarize: ``"list"`` keeps every answer, ``"mean"`` their float32 mean.
        hidden_queries: the leader's learner does not get the query steps (spec 5.6).
        tell_leader: the leader observes whether a step is a query, so that it can answer and play differently.
        tell_leader_mock: with `tell_leader`, the bit is always 0; the space is the same.
        consistent_commitment: the leader acts once per observation and episode; later visits repeat the
            first action, so that answers and play agree (the switch of quirk Q13). The published protocol
            samples independently; its optimum can exceed the Stackelberg value (spec 8.4).
        reward_offset: added to both players' payoffs at each game step.
        discrete_obs: observations as one integer (spec 3.3) instead of dictionaries.

    Raises:
        UserError: a combination that means nothing.
    """

    memory: str = "5-state"
    episode_length: int = 10
    queries: tuple[int, ...] | None = None
    n_samples: int = 1
    samples_summarize: str = "list"
    hidden_queries: bool = False
    tell_leader: bool = False
    tell_leader_mock: bool = False
    consistent_commitment: bool = False
    reward_offset: float = -2.5
    discrete_obs: bool = True

    def __post_init__(self):
        observation_counts(self.memory, (2, 2))
        for key in ("episode_length", "n_samples"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{key} must be a whole number of at least 1, not {value!r}")
        if self.samples_summarize not in SUMMARIES:
            raise UserError(
                f"unknown samples_summarize {self.samples_summarize!r}; there are {', '.join(SUMMARIES)}"
            )
        if self.tell_leader_mock and not self.tell_leader:
            raise UserError("tell_leader_mock has no meaning without tell_leader; set tell_leader too")
        if self.tell_leader and self.consistent_commitment:
            raise UserError(
                "consistent_commitment forbids a leader that answers and plays differently; "
                "use it without tell_leader"
            )
        if not np.isfinite(self.reward_offset):
            raise UserError(f"reward_offset must be a finite number, not {self.reward_offset!r}")
        if self.queries is not None:
            object.__setattr__(self, "queries", tuple(int(query) for query in self.queries))

    # Sizes -------------------------------------------------------------------------------------------------

    def observation_counts(self, actions: tuple[int, int]) -> tuple[int, int]:
        """(leader, follower) observations of the game itself: no query bit, no answers."""
        return observation_counts(self.memory, actions)

    def views(self, actions: tuple[int, int]) -> np.ndarray:
        """``[1 + A0 * A1, 2]`` observations in each joint state (module docstring)."""
        return joint_views(self.memory, actions)

    def query_observations(self, actions: tuple[int, int]) -> tuple[int, ...]:
        """The leader observations that are asked, in order.

        Raises:
            UserError: a query that the leader can never observe.
        """
        n_leader, _ = self.observation_counts(actions)
        if self.queries is None:
            return tuple(range(n_leader))
        for query in self.queries:
            if not 0 <= query < n_leader:
                raise UserError(
                    f"query {query} does not fit the memory {self.memory!r}: the leader's observations are "
                    f"0 to {n_leader - 1}"
                )
        return self.queries

    def query_steps(self, actions: tuple[int, int]) -> int:
        """Environment steps of the query phase."""
        return len(self.query_observations(actions)) * self.n_samples

    def episode_steps(self, actions: tuple[int, int]) -> int:
        """Environment steps of a whole episode: queries and game."""
        return self.query_steps(actions) + self.episode_length

    def kept_answers(self, actions: tuple[int, int]) -> tuple[int, int]:
        """How many answers the follower sees, and how many values each can have.

        With `samples_summarize` mean there is one per query; its value k stands for the mean ``k / n_samples``.
        """
        queries = len(self.query_observations(actions))
        if self.samples_summarize == "mean":
            return queries, self.n_samples * (actions[0] - 1) + 1
        return queries * self.n_samples, actions[0]

    def answer_names(self, actions: tuple[int, int]) -> list[str]:
        """Keys of the kept answers in a follower's observation, in the order in which they are asked (spec 3.2)."""
        queries = range(len(self.query_observations(actions)))
        names = ["none"] if self.memory == "none" else [f"q{k}" for k in queries]
        kept = 1 if self.samples_summarize == "mean" else self.n_samples
        return [f"{name}_{i}" for name in names for i in range(kept)]

    def contexts(self, actions: tuple[int, int]) -> int:
        """Number of different lists of kept answers: ``A0 ** (Q * n_samples)`` where every answer is kept."""
        count, values = self.kept_answers(actions)
        return values**count

    def leader_codes(self, actions: tuple[int, int]) -> int:
        """Number of leader observations as it sees them: twice as many when it is told the phase."""
        return self.observation_counts(actions)[0] * (2 if self.tell_leader else 1)

    def follower_codes(self, actions: tuple[int, int]) -> int:
        """Number of discrete follower observations: own observation times answers (24 and 160 in the paper)."""
        return self.observation_counts(actions)[1] * self.contexts(actions)

    # Codes -------------------------------------------------------------------------------------------------

    def leader_code(self, original, is_query, actions: tuple[int, int]):
        """The leader's discrete observation; `original` and `is_query` are integers or integer arrays."""
        if not self.tell_leader or self.tell_leader_mock:
            return original
        return is_query * self.observation_counts(actions)[0] + original

    def context_code(self, answers, actions: tuple[int, int]):
        """Number of a list of answers ``[..., Q * n_samples]``, the first answer the most significant.

        With `samples_summarize` mean, each query's answers are added up first.
        """
        answers = np.asarray(answers)
        count, values = self.kept_answers(actions)
        if self.samples_summarize == "mean":
            answers = answers.reshape(*answers.shape[:-1], count, self.n_samples).sum(axis=-1)
        weights = values ** np.arange(count - 1, -1, -1)
        return (answers * weights).sum(axis=-1)

    def follower_code(self, original, context, actions: tuple[int, int]):
        """The follower's discrete observation from its own one and the number of the answers."""
        return original * self.contexts(actions) + context

    def by_context(self, table: np.ndarray, actions: tuple[int, int]) -> np.ndarray:
        """A follower table ``[..., n_follower * contexts, *]`` over codes as ``[..., contexts, n_follower, *]``.

        `table` has the codes on its last axis (actions) or, if it ends in an axis of length A1, on the one
        before (probabilities, weights). Sizes decide; a table that fits neither is refused.
        """
        table = np.asarray(table)
        codes, n_follower = self.follower_codes(actions), self.observation_counts(actions)[1]
        for axis in (table.ndim - 1, table.ndim - 2):
            if axis >= 0 and table.shape[axis] == codes:
                split = (*table.shape[:axis], n_follower, self.contexts(actions), *table.shape[axis + 1 :])
                return np.swapaxes(table.reshape(split), axis, axis + 1)
        raise ValueError(
            f"a follower table needs {codes} codes on its last or last but one axis, not {table.shape}"
        )


def all_tables(observations: int, actions: int) -> np.ndarray:
    """Every deterministic table ``[actions ** observations, observations]``, in lexicographic order.

    The row's index is the table's mixed-radix number, so that row k answers the queries with context k.

    Raises:
        UserError: more tables than can be enumerated (over a million).
    """
    if observations * np.log(actions) > np.log(1_000_000):
        raise UserError(
            f"{actions} ** {observations} tables can't be enumerated; use a smaller memory or fewer actions"
        )
    return np.indices((actions,) * observations).reshape(observations, -1).T
