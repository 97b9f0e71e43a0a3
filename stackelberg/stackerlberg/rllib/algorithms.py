"""The algorithms of the paper as RLlib Algorithms: whole episodes sampled, one agent trained, the others frozen."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig as RllibPPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS

from .connectors import HIDDEN, module_of, steps_of
from .environment import INSIDE
from .learners import PGLearner, PPOLearner, SimpleQLearner
from .modules import EPSILON, GREEDY, POPULATION, TableModule

#: most environments side by side in one runner
VECTOR = 250


def returns_of(episode: MultiAgentEpisode) -> dict[str, float]:
    """Every agent's return, those inside the environment included; copies of an agent add up."""
    found: dict[str, float] = {}
    for agent, own in episode.agent_episodes.items():
        found[module_of(agent)] = found.get(module_of(agent), 0.0) + own.get_return()
        found |= (own.get_infos(-1) or {}).get(INSIDE, {})
    return found


def mean_returns(episodes: list[MultiAgentEpisode]) -> dict[str, float]:
    """Mean over episodes of every agent's return."""
    each = [returns_of(episode) for episode in episodes]
    return {agent: float(np.mean([returns[agent] for returns in each])) for agent in each[0]}


class _Settings:
    """What this engine's configs add to RLlib's.

    Attributes:
        trained: the agent that learns.
        episodes: sampled for one training step.
        trainings: training steps of an iteration.
        parallel: environments side by side.
        settings: the experiment's `TrainerConfig`.
        remainder, schedule: its keys that the learners read.
    """

    def _add(self) -> None:
        self.trained, self.episodes, self.trainings, self.parallel = "", 1, 1, 1
        self.settings, self.remainder, self.schedule = None, False, ()

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(TableModule)

    def get_default_learner_class(self) -> type:
        return self.learner


class PGConfig(_Settings, AlgorithmConfig):
    """Policy gradient (spec 5.3)."""

    learner = PGLearner

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or Episodic)
        self._add()


class PPOConfig(_Settings, RllibPPOConfig):
    """PPO (spec 5.4)."""

    learner = PPOLearner

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or PPO)
        self._add()


class SimpleQConfig(_Settings, AlgorithmConfig):
    """SimpleQ with parameter noise or epsilon-greedy exploration (spec 5.5)."""

    learner = SimpleQLearner

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or SimpleQ)
        self._add()


class ESConfig(_Settings, AlgorithmConfig):
    """Evolution strategies (spec 5.7)."""

    learner = PGLearner

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or ES)
        self._add()


class Episodic(Algorithm):
    """Samples whole episodes, then updates: PG and PPO as they are, the base of the others.

    Attributes:
        statistics: of the last iteration: ``return/<agent>`` and the learner's.
    """

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        return PGConfig()

    @property
    def trained(self) -> str:
        return self.config.trained

    @property
    def runner(self):
        return self.env_runner_group.local_env_runner

    def setup(self, config: AlgorithmConfig) -> None:
        super().setup(config)
        self.statistics: dict[str, float] = {}
        self.fresh()

    def fresh(self) -> None:
        """State beside the learner's, before the first iteration."""

    def acting(self) -> TableModule:
        """The trained agent's module as the runner acts with it."""
        return self.runner.module[self.trained].unwrapped()

    def learn(self, function) -> Any:
        """Call a function with the learner."""
        return next(iter(self.learner_group.foreach_learner(function))).get()

    def sample(self, count: int) -> list[MultiAgentEpisode]:
        """Exactly `count` whole episodes."""
        episodes: list[MultiAgentEpisode] = []
        while len(episodes) < count:
            episodes += self.runner.sample(num_episodes=min(count - len(episodes), self.config.parallel))
        self.metrics.aggregate([self.runner.get_metrics()], key=ENV_RUNNER_RESULTS)
        return episodes[:count]

    def update(self, **data: Any) -> None:
        """One update of the learner; the runner acts by the new parameters."""
        self.metrics.aggregate(self.learner_group.update(**data), key=LEARNER_RESULTS)
        self.synchronise()

    def synchronise(self) -> None:
        self.env_runner_group.sync_weights(
            policies=[self.trained], from_worker_or_learner_group=self.learner_group, inference_only=True
        )

    def training_step(self) -> None:
        found = [self.train_once() for _ in range(self.config.trainings)]
        self.statistics = {name: float(np.mean([each[name] for each in found])) for name in found[-1]}

    def train_once(self) -> dict[str, float]:
        """One training step: its statistics."""
        episodes = self.sample(self.config.episodes)
        self.update(episodes=episodes, timesteps={})
        return self.returns(episodes) | self.learn(lambda learner: learner.statistics(self.trained))

    @staticmethod
    def returns(episodes: list[MultiAgentEpisode]) -> dict[str, float]:
        return {f"return/{agent}": value for agent, value in mean_returns(episodes).items()}

    # --- hand-over and state ------------------------------------------------------------------------------------

    def hand_over(self, weights: dict[str, dict[str, np.ndarray]]) -> None:
        """Take policies over, by agent; the optimiser keeps its memory."""
        self.set_weights(weights)

    def policy(self, agent: str) -> dict[str, np.ndarray]:
        """An agent's parameters."""
        return {name: np.array(value) for name, value in self.get_weights([agent])[agent].items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be kept beside the policies to go on bit for bit."""
        return self.learn(lambda learner: learner.arrays(self.trained))

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` gave; none: start afresh with the policies as they are."""
        self.learn(lambda learner: learner.restore(self.trained, arrays))


class PPO(Episodic):
    """PPO; `PPOLearner` and the connectors make the difference."""

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        return PPOConfig()


class SimpleQ(Episodic):
    """Action values from a uniform replay buffer and a target network (spec 5.5)."""

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        return SimpleQConfig()

    def fresh(self) -> None:
        self.sigma = self.config.settings.parameter_noise
        self.sampled = self.copied = self.place = self.size = 0
        self.buffer: dict[str, np.ndarray] = {}

    def train_once(self) -> dict[str, float]:
        played = [self._episode() for _ in range(self.config.episodes)]
        for episode in played:
            self._push(episode)
        settings, loss = self.config.settings, 0.0
        if self.size >= settings.learning_starts:
            rows = np.random.randint(self.size, size=settings.train_batch_size)
            drawn = SampleBatch({name: column[rows] for name, column in self.buffer.items()})
            batch = MultiAgentBatch({self.trained: drawn}, env_steps=len(rows))
            self.update(batch=batch, timesteps={"sampled": self.sampled})
            loss = self.learn(lambda learner: learner.statistics(self.trained))["loss"]
            if self.sampled - self.copied >= settings.target_network_update_freq:
                self.learn(lambda learner: learner.synchronise_target(self.trained))
                self.copied = self.sampled
        return self.returns(played) | {"loss": loss, "parameter_noise": self.sigma}

    def _episode(self) -> MultiAgentEpisode:
        """One episode, under noise that is drawn for it alone or epsilon-greedily."""
        module, settings = self.acting(), self.config.settings
        if not settings.parameter_noise:
            module.behaviour, module.epsilon = EPSILON, self._epsilon()
            (episode,) = self.sample(1)
            self.sampled += episode.env_steps()
            return episode
        clean = {name: value.clone() for name, value in module.state_dict().items()}
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(self.sigma * torch.randn(parameter.shape))
        module.behaviour = GREEDY
        # DEVIATION(Q22): the episode holds the executed (noisy) actions; RLlib stored the noise-free greedy ones
        (episode,) = self.sample(1)
        seen = torch.from_numpy(self._steps(episode)[Columns.OBS])
        with torch.no_grad():
            noisy = module.outputs_of(seen).log_softmax(-1)
            module.load_state_dict(clean)
            straight = module.outputs_of(seen).log_softmax(-1)
        kl = (straight.exp() * (straight - noisy)).sum(-1).mean()
        # the tolerated divergence is -log(1 - eps + eps / A) = 0 for epsilon 0
        self.sigma = self.sigma * 1.01 if kl <= 0 else self.sigma / 1.01
        self.sampled += episode.env_steps()
        return episode

    def _epsilon(self) -> float:
        if not self.config.settings.epsilon:
            return 0.0
        first, last, steps = self.config.settings.epsilon
        return first + (last - first) * min(self.sampled / steps, 1.0)

    def _steps(self, episode: MultiAgentEpisode) -> dict[str, np.ndarray]:
        """The learner's transitions, without those that are hidden from it (spec 5.6)."""
        steps = steps_of(episode.agent_episodes[self.trained])
        kept = ~steps.pop(HIDDEN)
        return {name: column[kept] for name, column in steps.items()}

    def _push(self, episode: MultiAgentEpisode) -> None:
        capacity, steps = self.config.settings.buffer_size, self._steps(episode)
        for name, column in steps.items():
            if name not in self.buffer:
                self.buffer[name] = np.zeros((capacity, *column.shape[1:]), column.dtype)
        count = len(steps[Columns.REWARDS])
        places = (self.place + np.arange(count)) % capacity
        for name, column in steps.items():
            self.buffer[name][places] = column
        self.place, self.size = (self.place + count) % capacity, min(self.size + count, capacity)

    def hand_over(self, weights: dict[str, dict[str, np.ndarray]]) -> None:
        super().hand_over(weights)
        if self.trained in weights:
            self.learn(lambda learner: learner.synchronise_target(self.trained))

    def arrays(self) -> dict[str, np.ndarray]:
        counters = np.array([self.sampled, self.copied, self.place, self.size])
        buffer = {f"buffer/{name}": column[: self.size] for name, column in self.buffer.items()}
        return super().arrays() | buffer | {"counters": counters, "sigma": np.array(self.sigma)}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        super().restore_arrays(arrays)
        self.fresh()
        if not arrays:
            return
        self.sampled, self.copied, self.place, self.size = map(int, arrays["counters"])
        self.sigma = float(arrays["sigma"])
        for name, column in arrays.items():
            if name.startswith("buffer/"):
                whole = np.zeros((self.config.settings.buffer_size, *column.shape[1:]), column.dtype)
                whole[: self.size] = column
                self.buffer[name.removeprefix("buffer/")] = whole


class ES(Episodic):
    """Evolution strategies: returns of mirrored perturbations, centred ranks, ES's own Adam, an L2 pull (spec 5.7).

    Every environment of the vector plays under a perturbation of its own. Only returns are read, so hidden queries
    can't matter.
    """

    # DEVIATION(Q12): the configured learning rate and table reach ES, and the follower keeps its greedy flag
    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        return ESConfig()

    def fresh(self) -> None:
        self.moments: list[np.ndarray] = []
        self.count = 0

    def train_once(self) -> dict[str, float]:
        settings, module, pairs = self.config.settings, self.acting(), self.config.episodes // 2
        table = module.layers[0].weight.detach().numpy().copy()
        noise = np.random.standard_normal((pairs, *table.shape)).astype(np.float32)
        signed = np.stack([noise, -noise], axis=1).reshape(2 * pairs, *table.shape)
        population = table + settings.noise_stdev * signed
        module.behaviour, episodes = POPULATION, []
        for first in range(0, 2 * pairs, self.config.parallel):
            part = population[first : first + self.config.parallel]
            # the runner always plays in all its environments: those beyond the last part repeat its first policy
            padded = np.concatenate([part, np.repeat(part[:1], self.config.parallel - len(part), 0)])
            module.population = torch.from_numpy(padded)
            episodes += self.sample(self.config.parallel)[: len(part)]
        returns = np.array([returns_of(episode)[self.trained] for episode in episodes])
        ranks = centred_ranks(returns.reshape(pairs, 2))
        gradient = (
            -np.tensordot(ranks[:, 0] - ranks[:, 1], noise, 1) / (2 * pairs) + settings.l2_coeff * table
        )
        self.hand_over({self.trained: {"layers.0.weight": self._stepped(table, gradient.astype(np.float32))}})
        return self.returns(episodes) | {"grad_norm": float(np.sqrt((gradient**2).sum()))}

    def _stepped(self, table: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """ES's Adam: epsilon is added before the bias correction, which sits in the step size."""
        mean, square = self.moments or [np.zeros_like(table), np.zeros_like(table)]
        self.count += 1
        self.moments = [0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2]
        rate = self.config.lr * np.sqrt(1 - 0.999**self.count) / (1 - 0.9**self.count)
        return (table - rate * self.moments[0] / (np.sqrt(self.moments[1]) + 1e-8)).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        kept = {f"moment/{k}": value for k, value in enumerate(self.moments)}
        return kept | {"count": np.array(self.count)}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.fresh()
        if arrays:
            self.count = int(arrays["count"])
            self.moments = [arrays[f"moment/{k}"] for k in range(2) if f"moment/{k}" in arrays]


def centred_ranks(returns: np.ndarray) -> np.ndarray:
    """Ranks among all entries, scaled to [-.5, .5], in the shape of `returns`; equal returns keep their order."""
    order = np.argsort(returns.ravel(), kind="stable")
    ranks = np.empty(returns.size)
    ranks[order] = np.arange(returns.size)
    return (ranks / (returns.size - 1) - 0.5).astype(np.float32).reshape(returns.shape)


CONFIGS = {"PG": PGConfig, "PPO": PPOConfig, "SimpleQ": SimpleQConfig, "ES": ESConfig}


def build(config: AlgorithmConfig) -> Episodic:
    """The algorithm; the empty folder that RLlib makes for its logs goes at once."""
    algorithm = config.build_algo()
    with contextlib.suppress(OSError):
        os.rmdir(algorithm.logdir)
    return algorithm
