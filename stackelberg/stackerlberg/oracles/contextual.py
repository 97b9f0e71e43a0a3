"""The paper's oracle: one follower policy for all leaders, pre-trained against random ones, then frozen.

It sees its own observation and the leader's answers to a fixed list of queries, and so responds at once
(spec 1 and 5.2).
"""

from __future__ import annotations

import numpy as np

from common.cli import UserError

from ..exact.returns import TIE, as_probabilities
from ..leaders import Leader
from ..markov import MarkovGame, best_response, markov_returns
from ..protocol import all_tables
from .interface import LeaderAccess
from .learners import Adam, check_counts, policy_gradient, softmax

# Discounted rewards after this much weight is gone are not simulated in endless games.
_CUT = 1e-3


class ContextualOracle:
    """A frozen contextual follower: asks a fixed list of queries and looks its policy up under the answers.

    Args:
        table: ``[contexts, n_follower]`` actions or ``[contexts, n_follower, A1]`` probabilities, the contexts in
            the order of `Protocol.context_code` (the first answer the most significant). The batched engine's
            flat tables come into this form by `Protocol.by_context`; `pretrain` makes one here.
        queries: the leader observations to ask; None asks all.
    """

    def __init__(self, table: np.ndarray, queries: tuple[int, ...] | None = None):
        self.table, self.queries = np.asarray(table), queries

    def reset(self) -> None:
        """The follower is frozen."""

    def respond(self, leader: LeaderAccess, rng: np.random.Generator) -> np.ndarray:
        queries = self._asked(leader.game)
        table = self._probabilities(leader.game, len(queries))
        answers = np.array([leader.ask(query) for query in queries], dtype=int)
        return table[_context(answers, leader.game.actions[0])]

    def _asked(self, game: MarkovGame) -> list[int]:
        return list(range(game.observation_counts[0]) if self.queries is None else self.queries)

    def _probabilities(self, game: MarkovGame, asked: int) -> np.ndarray:
        n_follower = game.observation_counts[1]
        table = as_probabilities(self.table, n_follower, game.actions[1], "the contextual follower")
        contexts = game.actions[0] ** asked
        if table.shape[:-2] != (contexts,):
            raise UserError(
                f"a contextual follower for {asked} queries with {game.actions[0]} answers needs {contexts} "
                f"contexts, not {list(table.shape[:-2])}"
            )
        return table

    def by_answers(self, game: MarkovGame) -> tuple[list[int], np.ndarray]:
        """What is asked, and the follower ``[contexts, n_follower, A1]`` for each list of answers."""
        queries = self._asked(game)
        return queries, self._probabilities(game, len(queries))

    def regret(self, game: MarkovGame) -> np.ndarray:
        """``[leader tables]``: what the follower loses against each deterministic leader, exactly.

        Raises:
            UserError: too many leader or follower tables to enumerate.
        """
        queries = self._asked(game)
        table = self._probabilities(game, len(queries))
        leaders = all_tables(game.observation_counts[0], game.actions[0])
        context = _context(leaders[:, queries], game.actions[0])
        best = np.array([best_response(game, leader).returns[1] for leader in leaders])
        regret = best - markov_returns(game, leaders, table[context])[:, 1]
        return np.where(np.abs(regret) < TIE, 0.0, regret)

    def certify(self, game: MarkovGame, tolerance: float = TIE) -> None:
        """Refuse to go on with a follower that loses more than `tolerance` against any deterministic leader.

        Raises:
            UserError: it does; the message names the worst leader.
        """
        regret = self.regret(game)
        worst = int(regret.argmax())
        if regret[worst] > tolerance:
            leader = all_tables(game.observation_counts[0], game.actions[0])[worst].tolist()
            raise UserError(
                f"{game.name}: the follower is not certified: it loses {regret[worst]:g} against the leader "
                f"{leader} (allowed {tolerance:g}); pre-train it longer or allow more regret"
            )

    @classmethod
    def pretrain(
        cls,
        game: MarkovGame,
        iterations: int = 400,
        episodes: int = 64,
        lr: float = 0.1,
        seed: int = 0,
        leaders: Leader | None = None,
    ) -> ContextualOracle:
        """Train a follower by policy gradient against random deterministic leaders, then freeze it.

        Each episode has a leader of its own; each iteration is one Adam step on `episodes` of them. The follower
        that is kept is greedy, ties to action 0.

        Args:
            leaders: whom it meets; None: uniformly random tables, as the paper has it. A policy of theirs that is
                not deterministic draws its table once per episode.

        Raises:
            UserError: too many contexts for a table.
        """
        check_counts(iterations=iterations, episodes=episodes)
        n_leader, n_follower = game.observation_counts
        contexts = len(all_tables(n_leader, game.actions[0]))
        logits = np.zeros((n_follower * contexts, game.actions[1]))
        rng, adam = np.random.default_rng(seed), Adam(logits.shape, lr)
        for _ in range(iterations):
            if leaders is None:
                tables = rng.integers(0, game.actions[0], (episodes, n_leader))
            else:
                tables = leaders.draw_tables(rng, episodes)
            codes, actions, returns = _rollouts(game, tables, softmax(logits), rng)
            # The mean return per code is a baseline: payoffs of one sign would drown the differences.
            counts = np.bincount(codes, minlength=len(logits))
            mean = np.bincount(codes, returns, len(logits)) / np.maximum(counts, 1)
            logits += adam.step(policy_gradient(logits, codes, actions, returns - mean[codes]))
        return cls(logits.argmax(axis=1).reshape(n_follower, contexts).T)


def _context(answers: np.ndarray, actions: int) -> np.ndarray:
    """Number of each answer list ``[..., Q]``, the first answer the most significant."""
    return answers @ actions ** np.arange(answers.shape[-1] - 1, -1, -1)


def _rollouts(game: MarkovGame, leaders: np.ndarray, policy: np.ndarray, rng) -> tuple[np.ndarray, ...]:
    """One game per leader table ``[E, n_leader]``: the follower's codes, actions, returns-to-go, flat over steps."""
    rows, context = np.arange(len(leaders)), _context(leaders, game.actions[0])
    contexts = game.actions[0] ** leaders.shape[1]
    steps = game.horizon
    if steps is None:
        steps = 1 if game.discount == 0 else int(np.ceil(np.log(_CUT) / np.log(game.discount)))
    first, after = game.start.cumsum()[:-1], game.transitions.cumsum(axis=-1)[..., :-1]
    state = (rng.random(len(leaders))[:, None] >= first).sum(axis=1)
    codes, actions, rewards = (np.zeros((steps, len(leaders)), dtype) for dtype in (int, int, float))
    for step in range(steps):
        codes[step] = game.views[state, 1] * contexts + context
        own = leaders[rows, game.views[state, 0]]
        chosen = policy[codes[step]].cumsum(axis=1)[:, :-1]
        actions[step] = (rng.random(len(leaders))[:, None] >= chosen).sum(axis=1)
        rewards[step] = game.payoffs[state, own, actions[step], 1]
        state = (rng.random(len(leaders))[:, None] >= after[state, own, actions[step]]).sum(axis=1)
    for step in range(steps - 2, -1, -1):
        rewards[step] += game.discount * rewards[step + 1]
    return codes.ravel(), actions.ravel(), rewards.ravel()
