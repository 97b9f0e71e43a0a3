"""Actor-critic learners in TensorFlow and Keras 3: an implementation of its own, in the lineage of the one that came with LIO.

The mechanism needs no access to its learners; these show it. They share no code with `iqflow.alg`: networks, losses and
optimisers are Keras', pictures come in and actions go out as NumPy arrays. What differs from our followers (spec 5.2): layers
start as Keras starts them (Glorot, not orthogonal); a policy is mixed with the uniform one, with a share that falls over
training, as LIO's learners explore; the advantage is the TD error of the critic *before* its step; losses are means over the
steps. TensorFlow is imported by this module alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from common.cli import UserError


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of one learner.

    Attributes:
        hidden: widths of the two dense layers; filters, kernel, stride: of the convolution before them.
        epsilon_start, epsilon_end, epsilon_div: the share of the uniform policy falls linearly over so many episodes.
    """

    gamma: float
    entropy_coeff: float
    lr_actor: float
    lr_critic: float
    tau: float
    hidden: tuple[int, int] = (64, 64)
    filters: int = 6
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    epsilon_start: float = 0.5
    epsilon_end: float = 0.05
    epsilon_div: int = 500

    def epsilon(self, episode: int) -> float:
        """The share of the uniform policy in episode number `episode`."""
        share = min(episode / self.epsilon_div, 1.0)
        return self.epsilon_start + share * (self.epsilon_end - self.epsilon_start)


def use_one_thread() -> None:
    """TensorFlow on one thread of the CPU, which makes its sums the same every time.

    Raises:
        UserError: Keras was told to compute with something else.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND={keras.backend.backend()}; these learners need KERAS_BACKEND=tensorflow, or none set"
        )
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], "GPU")


def _network(shape: tuple[int, ...], outputs: int, settings: Settings, seed: int) -> keras.Sequential:
    def start(number: int) -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=seed + number)

    layers = [
        keras.layers.Input(shape),
        keras.layers.Conv2D(
            settings.filters,
            settings.kernel,
            settings.stride,
            padding="same",
            activation="relu",
            kernel_initializer=start(0),
        ),
        keras.layers.Flatten(),
    ]
    layers += [
        keras.layers.Dense(width, activation="relu", kernel_initializer=start(1 + number))
        for number, width in enumerate(settings.hidden)
    ]
    return keras.Sequential([*layers, keras.layers.Dense(outputs, kernel_initializer=start(3))])


class ActorCritic:
    """One learner: its policy, its critic with a slow copy, and an Adam for each."""

    def __init__(self, observation_shape: tuple[int, ...], n_actions: int, settings: Settings, seed: int):
        self.settings, self.n_actions = settings, n_actions
        self.actor = _network(observation_shape, n_actions, settings, seed)
        self.critic = _network(observation_shape, 1, settings, seed + 4)
        self.slow_critic = _network(observation_shape, 1, settings, seed + 4)
        self.actor_optimiser = keras.optimizers.Adam(settings.lr_actor)
        self.critic_optimiser = keras.optimizers.Adam(settings.lr_critic)
        self.actor_optimiser.build(self.actor.trainable_variables)
        self.critic_optimiser.build(self.critic.trainable_variables)

    def variables(self) -> list[Any]:
        """Everything that training changes, in a fixed order."""
        nets = (self.actor, self.critic, self.slow_critic)
        parts = [net.variables for net in nets]
        parts += [optimiser.variables for optimiser in (self.actor_optimiser, self.critic_optimiser)]
        return [variable for part in parts for variable in part]

    def log_policy(self, observations: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
        """Logarithm of the mixed policy, [B, A]."""
        policy = tf.nn.softmax(self.actor(observations))
        return tf.math.log((1.0 - epsilon) * policy + epsilon / self.n_actions)

    def learn(self, seen, actions, rewards, later, ends, epsilon) -> None:
        """One step of critic, slow critic and actor on transitions [B, ...]."""
        going_on = self.settings.gamma * (1.0 - ends)
        target = rewards + going_on * self.slow_critic(later)[:, 0]
        advantage = rewards + going_on * self.critic(later)[:, 0] - self.critic(seen)[:, 0]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.critic(seen)[:, 0] - target))
        self._step(tape, loss, self.critic, self.critic_optimiser)
        for slow, fast in zip(self.slow_critic.variables, self.critic.variables, strict=True):
            slow.assign(slow + self.settings.tau * (fast - slow))
        with tf.GradientTape() as tape:
            logs = self.log_policy(seen, epsilon)
            taken = tf.reduce_sum(logs * tf.one_hot(actions, self.n_actions), -1)
            entropy = -tf.reduce_sum(tf.exp(logs) * logs, -1)
            loss = -tf.reduce_mean(taken * advantage + self.settings.entropy_coeff * entropy)
        self._step(tape, loss, self.actor, self.actor_optimiser)

    @staticmethod
    def _step(tape, loss, net, optimiser) -> None:
        gradients = tape.gradient(loss, net.trainable_variables)
        optimiser.apply_gradients(zip(gradients, net.trainable_variables, strict=True))


class Learners:
    """N independent learners, each of which sees and learns its own part.

    Args:
        seed: of the first weights and of the drawn actions.
    """

    def __init__(
        self, n_agents: int, observation_shape: tuple[int, ...], n_actions: int, settings: Settings, seed: int
    ):
        self.settings, self.seed = settings, seed
        self.agents = [
            ActorCritic(observation_shape, n_actions, settings, (seed + 100 * agent) % 2**31)
            for agent in range(n_agents)
        ]
        shape = (None, n_agents, *observation_shape)
        self._policies = tf.function(self._all_policies).get_concrete_function(tf.TensorSpec(shape))
        self._learn = tf.function(self._learn_all)

    def _all_policies(self, observations: tf.Tensor) -> tf.Tensor:
        policies = [tf.nn.softmax(agent.actor(observations[:, k])) for k, agent in enumerate(self.agents)]
        return tf.stack(policies, axis=1)

    def draws(self, number: int, steps: int, games: int) -> np.ndarray:
        """Uniform numbers [T, E, N] for the actions of episode `number`; equal for equal arguments."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        return generator.random((steps, games, len(self.agents)))

    def act(self, observations: np.ndarray, episode: int, uniform: np.ndarray) -> np.ndarray:
        """Actions [E, N] for observations [E, N, ...].

        Args:
            episode: how far training is; uniform: [E, N] in [0, 1), which decides among the actions.
        """
        epsilon = self.settings.epsilon(episode)
        policy = self._policies(tf.constant(observations)).numpy().astype(np.float64)
        mixed = (1.0 - epsilon) * policy + epsilon / policy.shape[-1]
        below = np.cumsum(mixed, -1)[..., :-1] <= uniform[..., None]
        return below.sum(-1)

    def _learn_all(self, seen, actions, rewards, ends, epsilon) -> None:
        for k, agent in enumerate(self.agents):
            now, later = (tf.reshape(part[:, :, k], (-1, *part.shape[3:])) for part in (seen[:-1], seen[1:]))
            own = (tf.reshape(part[:, :, k], [-1]) for part in (actions, rewards))
            agent.learn(now, *own, later, tf.reshape(ends, [-1]), epsilon)

    def learn(self, seen: np.ndarray, actions: np.ndarray, rewards: np.ndarray, episode: int) -> None:
        """Every learner takes one step on E episodes.

        Args:
            seen: [T + 1, E, N, ...], the last one after the last step; actions, rewards: [T, E, N].
        """
        ends = np.zeros(rewards.shape[:2], np.float32)
        ends[-1] = 1.0  # the time limit ends an episode, as for our followers (spec 7.18)
        epsilon = tf.constant(self.settings.epsilon(episode), tf.float32)
        parts = (seen, actions.astype(np.int32), rewards.astype(np.float32), ends)
        self._learn(*map(tf.constant, parts), epsilon)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that training changes, by name."""
        return {
            f"agent_{k}/{number:02d}": np.asarray(variable.numpy())
            for k, agent in enumerate(self.agents)
            for number, variable in enumerate(agent.variables())
        }

    def restore(self, arrays: Mapping[str, np.ndarray], what: str) -> None:
        """Put back what `arrays` returned.

        Raises:
            UserError: it is of other learners; `what` names the source.
        """
        own = self.arrays()
        if set(own) != set(arrays) or any(own[name].shape != arrays[name].shape for name in own):
            raise UserError(f"{what} does not fit this command: it is of other learners")
        for k, agent in enumerate(self.agents):
            for number, variable in enumerate(agent.variables()):
                variable.assign(arrays[f"agent_{k}/{number:02d}"])
