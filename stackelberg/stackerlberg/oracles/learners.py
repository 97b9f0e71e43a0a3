"""Oracles that learn a follower in games against the leader: tabular Q, policy gradient, evolution strategy.

NumPy references of what the batched engine does at speed: plain loops, one leader at a time. Every game they
learn in is a stretch of query steps for the leader.
"""

from __future__ import annotations

import numpy as np

from common.cli import UserError

from .interface import LeaderAccess, act_from


def check_counts(**counts: int) -> None:
    """Refuse counts that are not whole numbers of at least 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} must be a whole number of at least 1, not {value!r}")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def greedy(scores: np.ndarray) -> np.ndarray:
    """``[n, A]`` the best action of each row for sure, ties to action 0."""
    return np.eye(scores.shape[-1])[scores.argmax(axis=-1)]


class TabularQOracle:
    """Q-learning against the leader (spec 3.4): epsilon-greedy, or greedy under noise drawn once per game.

    ``Q[s][b] += alpha (r + gamma max Q[s'] - Q[s][b])``, without the bootstrap term at the game's last step.
    The follower it returns is greedy.

    Args:
        episodes: learning games per leader episode.
        alpha, gamma, epsilon: step size, discount, exploration (the noise's standard deviation with `param_noise`).
        zero: start from zeros instead of N(0, 0.01).
    """

    def __init__(
        self,
        episodes: int = 50,
        alpha: float = 0.1,
        gamma: float = 1.0,
        epsilon: float = 0.1,
        param_noise: bool = False,
        zero: bool = False,
    ):
        check_counts(episodes=episodes)
        self.episodes, self.alpha, self.gamma, self.epsilon = episodes, alpha, gamma, epsilon
        self.param_noise, self.zero = param_noise, zero
        self.values: np.ndarray | None = None

    def reset(self) -> None:
        self.values = None

    def respond(self, leader: LeaderAccess, rng: np.random.Generator) -> np.ndarray:
        shape = (leader.game.observation_counts[1], leader.game.actions[1])
        if self.values is None:
            self.values = np.zeros(shape) if self.zero else rng.normal(0, 0.01, shape)
        for _ in range(self.episodes):
            noise = rng.normal(0, self.epsilon, shape) if self.param_noise else np.zeros(shape)
            play = leader.learning_game()
            while not play.over:
                state = play.observation
                action = int((self.values[state] + noise[state]).argmax())
                if not self.param_noise and rng.random() < self.epsilon:
                    action = int(rng.integers(shape[1]))
                target = play.step(action)
                if not play.over:
                    target += self.gamma * self.values[play.observation].max()
                self.values[state, action] += self.alpha * (target - self.values[state, action])
        return greedy(self.values)


class Adam:
    """Adam with betas .9 and .999 and eps 1e-8, downhill."""

    def __init__(self, shape: tuple[int, ...], lr: float):
        self._lr, self._first, self._second, self._count = lr, np.zeros(shape), np.zeros(shape), 0

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """What to add to the parameters."""
        self._count += 1
        self._first += 0.1 * (gradient - self._first)
        self._second += 0.001 * (gradient**2 - self._second)
        first = self._first / (1 - 0.9**self._count)
        second = self._second / (1 - 0.999**self._count)
        return -self._lr * first / (np.sqrt(second) + 1e-8)


def policy_gradient(logits: np.ndarray, observations, actions, returns) -> np.ndarray:
    """Gradient of ``-mean(log pi(a | o) R)`` with respect to the logits ``[n, A]`` (spec 5.3)."""
    observations, actions = np.asarray(observations, dtype=int), np.asarray(actions, dtype=int)
    probabilities = softmax(logits)[observations]
    score = np.eye(logits.shape[1])[actions] - probabilities
    gradient = np.zeros_like(logits)
    np.add.at(gradient, observations, -score * np.asarray(returns)[:, None] / max(1, len(observations)))
    return gradient


def rewards_to_go(rewards) -> np.ndarray:
    """Sum of this and all later rewards, per step."""
    return np.cumsum(np.asarray(rewards, dtype=np.float64)[::-1])[::-1]


class PolicyGradientOracle:
    """A follower that learns by REINFORCE with a table of logits, one Adam step per `episodes` games.

    Args:
        iterations, episodes: Adam steps, and games per step.
        lr: step size.
        sampled: return the softmax policy; else the greedy one.
    """

    def __init__(self, iterations: int = 50, episodes: int = 4, lr: float = 0.2, sampled: bool = False):
        check_counts(iterations=iterations, episodes=episodes)
        self.iterations, self.episodes, self.lr, self.sampled = iterations, episodes, lr, sampled
        self.logits: np.ndarray | None = None

    def reset(self) -> None:
        self.logits = None

    def respond(self, leader: LeaderAccess, rng: np.random.Generator) -> np.ndarray:
        shape = (leader.game.observation_counts[1], leader.game.actions[1])
        if self.logits is None:
            self.logits, self._adam = np.zeros(shape), Adam(shape, self.lr)
        for _ in range(self.iterations):
            seen, done, paid, policy = [], [], [], softmax(self.logits)
            for _ in range(self.episodes):
                rewards, play = [], leader.learning_game()
                while not play.over:
                    seen.append(play.observation)
                    done.append(act_from(policy, play.observation, 0, rng))
                    rewards.append(play.step(done[-1]))
                paid.extend(rewards_to_go(rewards))
            # The follower's average return is a baseline: with few games a plain one would need far more.
            self.logits += self._adam.step(
                policy_gradient(self.logits, seen, done, np.array(paid) - np.mean(paid))
            )
        return softmax(self.logits) if self.sampled else greedy(self.logits)


class EvolutionOracle:
    """A follower found by an evolution strategy over logits: antithetic Gaussian noise, centred ranks (spec 5.7).

    Args:
        iterations, pairs: steps, and antithetic pairs per step; each member is valued by whole games.
        episodes: games per member.
        sigma, lr: noise and step size.
    """

    def __init__(
        self, iterations: int = 30, pairs: int = 8, episodes: int = 1, sigma: float = 0.5, lr: float = 0.3
    ):
        check_counts(iterations=iterations, pairs=pairs, episodes=episodes)
        self.iterations, self.pairs, self.episodes, self.sigma, self.lr = (
            iterations,
            pairs,
            episodes,
            sigma,
            lr,
        )
        self.logits: np.ndarray | None = None

    def reset(self) -> None:
        self.logits = None

    def respond(self, leader: LeaderAccess, rng: np.random.Generator) -> np.ndarray:
        shape = (leader.game.observation_counts[1], leader.game.actions[1])
        if self.logits is None:
            self.logits, self._adam = np.zeros(shape), Adam(shape, self.lr)
        for _ in range(self.iterations):
            half = rng.normal(size=(self.pairs, *shape))
            noise = np.concatenate([half, -half])
            worth = np.array(
                [self._value(leader, greedy(self.logits + self.sigma * member)) for member in noise]
            )
            gradient = np.tensordot(centred_ranks(worth), noise, axes=1) / (len(noise) * self.sigma)
            self.logits += self._adam.step(-gradient)
        return greedy(self.logits)

    def _value(self, leader: LeaderAccess, policy: np.ndarray) -> float:
        total = 0.0
        for _ in range(self.episodes):
            play = leader.learning_game()
            while not play.over:
                play.step(int(policy[play.observation].argmax()))
            total += play.returns[1]
        return total / self.episodes


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks scaled to [-0.5, 0.5]; equal values share the mean of their ranks."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return np.zeros(len(values))
    below = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    return (below + (equal - 1) / 2) / (len(values) - 1) - 0.5
