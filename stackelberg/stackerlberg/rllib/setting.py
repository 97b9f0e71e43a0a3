"""One condition as this engine needs it: the game's protocol where it has one, sizes, and the configs of the trainers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

from common.cli import UserError

from ..envs.registry import make_env
from ..experiments.configuration import Configuration, TrainerConfig
from ..games import FOLLOWER, LEADER, Game, resolve_game
from ..protocol import Protocol, memory_name
from .algorithms import CONFIGS, VECTOR, Episodic, build
from .connectors import module_of, pipeline
from .environment import EpisodeEnv, RandomLeader
from .modules import GREEDY, SAMPLE, TableModule, fresh_weights, sizes_of

_QUERIED = "stackelberg_observed_queries"


def protocol_of(configuration: Configuration) -> Protocol | None:
    """The query protocol that exact values and regrets need; None where the environment does not follow one."""
    arguments = configuration.env_config
    beyond = ("hypernetwork", "mixed_strategies")
    if not configuration.env.endswith(_QUERIED) or any(arguments.get(key) for key in beyond):
        return None
    repeated, asked = configuration.env.startswith("repeated"), arguments.get("query_observations")
    return Protocol(
        memory=memory_name(True, arguments.get("small_memory", False)) if repeated else "none",
        episode_length=arguments.get("episode_length", 10) if repeated else 1,
        queries=None if asked is None else tuple(asked),
        n_samples=arguments.get("n_samples", 1),
        samples_summarize=arguments.get("samples_summarize", "list"),
        hidden_queries=arguments.get("hidden_queries", False),
        tell_leader=arguments.get("tell_leader", False),
        consistent_commitment=arguments.get("consistent_commitment", False),
        reward_offset=arguments.get("reward_offset", -2.5 if repeated else 0.0),
        discrete_obs=arguments.get("discrete_obs", False),
    )


@dataclass(frozen=True)
class Setting:
    """A condition, understood."""

    configuration: Configuration

    @cached_property
    def machine(self):
        """The environment, for its spaces."""
        return make_env(self.configuration.env, self.configuration.env_config)

    @cached_property
    def protocol(self) -> Protocol | None:
        return protocol_of(self.configuration)

    @cached_property
    def game(self) -> Game:
        arguments = self.configuration.env_config
        return resolve_game(arguments.get("matrix_name", "prisoners_dilemma"), arguments.get("matrix", ()))

    @property
    def agents(self) -> tuple[str, ...]:
        """The policies that there are."""
        return tuple(dict.fromkeys(module_of(agent) for agent in self.machine.possible_agents))

    @cached_property
    def steps(self) -> tuple[int, int]:
        """Env steps of an episode: all, and those in which the game is played for reward."""
        machine = self.machine
        random = np.random.default_rng(0)
        observations, _ = machine.reset(seed=0)
        count, over = 0, False
        while not over:
            actions = {agent: _any_action(machine.action_spaces[agent], random) for agent in observations}
            observations, _, dones, _ = machine.step(actions)
            count, over = count + 1, dones["__all__"]
        arguments = self.configuration.env_config
        usual = 10 if self.configuration.env.startswith("repeated") else 1
        return count, min(count, arguments.get("episode_length", usual))

    def trainer(self, role: str) -> TrainerConfig:
        return getattr(self.configuration, role)

    def sampling(self, role: str) -> tuple[int, int]:
        """Episodes of a training step and training steps of an iteration: whole episodes until it is enough."""
        trainer, algorithm, steps = self.trainer(role), self.algorithm(role), self.steps[0]
        if algorithm == "ES":
            return trainer.episodes_per_batch, 1
        wanted = trainer.rollout_fragment_length if algorithm == "SimpleQ" else trainer.train_batch_size
        episodes = math.ceil(wanted / steps)
        return episodes, max(1, math.ceil(trainer.min_sample_timesteps_per_iteration / (episodes * steps)))

    def algorithm(self, role: str) -> str:
        return getattr(self.configuration, f"{role}_algorithm")

    def counters(self) -> Mapping[str, int]:
        """Env steps of an iteration: the leader's, those of them that are play, the follower's trainer's."""
        leader, follower = (math.prod(self.sampling(role)) for role in ("leader", "follower"))
        steps, played = self.steps
        return {"leader": leader * steps, "leader_game": leader * played, "follower": follower * steps}

    # --- policies ---------------------------------------------------------------------------------------------

    def network(self, agent: str) -> dict[str, Any]:
        """``model_config`` of an agent's module."""
        role = "leader" if agent == LEADER else "follower"
        trainer = self.trainer(role)
        return {
            "hiddens": tuple(trainer.fcnet_hiddens),
            "bias": trainer.network == "stock",
            "value": self.algorithm(role) == "PPO",
        }

    def fresh(self, agent: str, random: np.random.Generator) -> dict[str, np.ndarray]:
        """New parameters of an agent's policy."""
        space = EpisodeEnv({"factory": self.configuration.env, **self.configuration.env_config})
        inputs, outputs = sizes_of(space.observation_spaces[agent], space.action_spaces[agent])
        return fresh_weights(inputs, outputs, **self.network(agent), random=random)

    def behaviours(self, trained: str) -> dict[str, str]:
        """Who explores (spec 5.1): the learner as its algorithm says, the others by their greedy flag."""
        configuration = self.configuration
        greedy = {LEADER: configuration.deterministic_leader, FOLLOWER: configuration.deterministic_follower}
        return {agent: SAMPLE if agent == trained or not greedy[agent] else GREEDY for agent in self.agents}

    # --- trainers ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse what this engine can't train.

        Raises:
            UserError: in one line.
        """
        configuration = self.configuration
        env = EpisodeEnv({"factory": configuration.env, **configuration.env_config})
        if LEADER not in self.agents:
            raise UserError(
                f"engine rllib needs an environment with {LEADER}; {configuration.env} has {self.agents}"
            )
        for agent in self.agents:
            space = env.action_spaces[next(a for a in env.possible_agents if module_of(a) == agent)]
            sizes_of(env.observation_spaces[agent], space)
            role = "leader" if agent == LEADER else "follower"
            if not isinstance(space, spaces.Discrete) and self.algorithm(role) in ("SimpleQ", "ES"):
                raise UserError(
                    f"{role}_algorithm={self.algorithm(role)} needs whole-number actions, not {space}"
                )
        plain = self.configuration.leader.network == "linear"
        numbered = isinstance(env.observation_spaces[LEADER], spaces.Discrete)
        if configuration.leader_algorithm == "ES" and not (plain and numbered):
            raise UserError(
                "engine rllib's ES moves a table: it needs network=linear and whole-number observations"
            )
        if configuration.pre_training_iterations and configuration.randomize_leader:
            RandomLeader(self.machine)

    def _vectorised(self, episodes: int) -> int:
        """Environments side by side; a table that is carried goes through the episodes one after the other."""
        carried = self.configuration.env_config.get("reset_between_episodes") is False
        return 1 if carried else min(episodes, VECTOR)

    def _base(
        self, trained: str, role: str, env_config: dict[str, Any], agents: tuple[str, ...], parallel: int
    ):
        env = {"factory": self.configuration.env, **env_config}
        modes = self.behaviours(trained)
        config = CONFIGS[self.algorithm(role)]()
        config.environment(EpisodeEnv, env_config=env, disable_env_checking=True)
        config.env_runners(
            num_env_runners=0, num_envs_per_env_runner=parallel, batch_mode="complete_episodes"
        )
        config.multi_agent(policies=set(agents), policy_mapping_fn=module_of, policies_to_train=[trained])
        modules = {
            agent: RLModuleSpec(TableModule, model_config=self.network(agent) | {"behaviour": modes[agent]})
            for agent in agents
        }
        config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=modules))
        config.debugging(log_level="ERROR")
        config.trained, config.settings, config.parallel = trained, self.trainer(role), parallel
        return config

    def trainer_for(self, trained: str, *, pre: bool = False) -> Episodic:
        """The algorithm that trains one agent; with `pre` as the follower's pre-trainer."""
        return build(self.config_for(trained, pre=pre))

    def config_for(self, trained: str, *, pre: bool = False) -> AlgorithmConfig:
        """RLlib's config of that algorithm."""
        configuration = self.configuration
        role = "leader" if trained == LEADER else "follower"
        trainer, agents = self.trainer(role), self.agents
        env_config = dict(configuration.env_config)
        if pre:
            env_config |= configuration.pre_training_env_config
        if pre and configuration.randomize_leader:
            env_config["random_leader"] = {"deterministic": configuration.deterministic_leader}
            agents = tuple(agent for agent in agents if agent != LEADER)
        episodes, trainings = self.sampling(role)
        # parameter noise belongs to an episode, so SimpleQ plays them one by one
        parallel = 1 if self.algorithm(role) == "SimpleQ" else self._vectorised(episodes)
        config = self._base(trained, role, env_config, agents, parallel)
        _configure(config, trainer, self.algorithm(role), trained)
        config.episodes, config.trainings = episodes, trainings
        return config

    def evaluator(self) -> MultiAgentEnvRunner:
        """A runner of its own for evaluation: the leader as in training, SimpleQ greedily (spec 5.8)."""
        episodes = self._vectorised(self.configuration.leader.evaluation_duration)
        env_config = dict(self.configuration.env_config) | {"_is_eval_env": True}
        config = self._base(LEADER, "leader", env_config, self.agents, episodes)
        runner = MultiAgentEnvRunner(config=config)
        if self.algorithm("leader") == "SimpleQ":
            runner.module[LEADER].unwrapped().behaviour = GREEDY
        return runner


def _configure(config: AlgorithmConfig, trainer: TrainerConfig, algorithm: str, trained: str) -> None:
    config.learners(
        num_learners=0,
        learner_connector=lambda *spaces: pipeline(trained, algorithm == "PPO"),
        add_default_connectors_to_learner_pipeline=False,
    )
    config.training(lr=trainer.lr, gamma=trainer.gamma)
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=0)
    if algorithm == "PPO":
        config.training(
            train_batch_size=max(trainer.train_batch_size, trainer.sgd_minibatch_size),
            minibatch_size=trainer.sgd_minibatch_size,
            num_epochs=trainer.num_sgd_iter,
            clip_param=trainer.clip_param,
            vf_clip_param=trainer.vf_clip_param,
            vf_loss_coeff=trainer.vf_loss_coeff,
            entropy_coeff=trainer.entropy_coeff,
            use_kl_loss=True,
            kl_coeff=trainer.kl_coeff,
            kl_target=trainer.kl_target,
            lambda_=1.0,
            grad_clip=None,
        )
        config.remainder = trainer.minibatch_remainder
    if algorithm == "SimpleQ":
        config.training(grad_clip=trainer.grad_clip, grad_clip_by="global_norm")
        config.schedule = tuple(trainer.lr_schedule)


def _any_action(space: spaces.Space, random: np.random.Generator) -> Any:
    if isinstance(space, spaces.Discrete):
        return int(random.integers(space.n))
    return np.zeros(space.shape, space.dtype)
