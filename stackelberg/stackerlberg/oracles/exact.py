"""The oracle that asks for the leader's whole table and computes the best response."""

from __future__ import annotations

import numpy as np

from ..markov import MarkovGame, best_response
from ..protocol import all_tables
from .interface import LeaderAccess


class ExactOracle:
    """Asks the leader for its action at every observation and best-responds exactly to the answers.

    Args:
        ties: as in `best_response`.
        clock: the follower knows the step number (finite games).
    """

    def __init__(self, ties: str = "lexicographic", clock: bool = False):
        self.ties, self.clock = ties, clock
        self._known: dict[tuple, np.ndarray] = {}

    def reset(self) -> None:
        """Nothing is learnt: what is remembered are solutions, which depend on the answers alone."""

    def respond(self, leader: LeaderAccess, rng: np.random.Generator) -> np.ndarray:
        answers = leader.ask_all()
        key = (leader.game, *answers.tolist())
        if key not in self._known:
            table = best_response(leader.game, answers, self.ties, self.clock).follower
            self._known[key] = np.eye(leader.game.actions[1])[table]
        return self._known[key]

    def by_answers(self, game: MarkovGame) -> tuple[list[int], np.ndarray]:
        """What is asked, and the follower for each list of answers, the first answer the most significant.

        Returns:
            The observations; ``[contexts, n_follower, A1]`` (with a clock ``[contexts, H, n_follower, A1]``).

        Raises:
            UserError: too many leader or follower tables to enumerate.
        """
        tables = all_tables(game.observation_counts[0], game.actions[0])
        replies = np.stack([best_response(game, table, self.ties, self.clock).follower for table in tables])
        return list(range(game.observation_counts[0])), np.eye(game.actions[1])[replies]
