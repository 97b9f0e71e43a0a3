"""One resolved experiment as frozen dataclasses: every key is read or refused (spec 2.3).

Both engines take these. Names are the original's where it has them; what this repository added says so.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.cli import UserError, nearest
from common.settings import value_of

from ..envs.registry import check_env_config

ALGORITHMS = ("PG", "PPO", "SimpleQ", "ES")
NETWORKS = ("linear", "stock", "fully-connected")


@dataclass(frozen=True)
class TrainerConfig:
    """Settings of one trainer, the leader's or the follower's; defaults are RLlib 2.0.1's or the trainable's.

    Attributes:
        lr: learning rate; ES: its step size.
        lr_schedule: (last value, env step at which it is reached), linear; empty: constant.
        gamma: the discount; only 1 is implemented, as all experiments have it.
        rollout_fragment_length, train_batch_size: env steps sampled at least for one training step (SimpleQ: the
            fragment is sampled, the batch is drawn from the buffer).
        min_sample_timesteps_per_iteration: training steps are repeated until so many env steps are sampled.
        network: ``linear`` (a table, no bias), ``stock`` (RLlib's own network without hidden layer: with bias),
            ``fully-connected`` (`fcnet_hiddens` tanh layers, no bias).
        minibatch_remainder: *added* (Q4): PPO's last, smaller minibatch is trained on too, in random order.
        parameter_noise: SimpleQ: initial standard deviation of the noise on parameters; 0: none.
        epsilon: SimpleQ: (first, last, env steps between them) of epsilon-greedy exploration.
        evaluation_duration: episodes of an evaluation.
        episodes_per_batch, noise_stdev, l2_coeff: ES.
    """

    lr: float = 0.0004
    lr_schedule: tuple[float, ...] = ()
    gamma: float = 1.0
    rollout_fragment_length: int = 10
    train_batch_size: int = 10
    min_sample_timesteps_per_iteration: int = 1
    evaluation_duration: int = 10
    network: str = "linear"
    fcnet_hiddens: tuple[int, ...] = ()
    # PPO
    sgd_minibatch_size: int = 128
    num_sgd_iter: int = 30
    minibatch_remainder: bool = False
    clip_param: float = 0.3
    vf_clip_param: float = 10.0
    vf_loss_coeff: float = 1.0
    entropy_coeff: float = 0.0
    kl_coeff: float = 0.2
    kl_target: float = 0.01
    # SimpleQ
    learning_starts: int = 1000
    buffer_size: int = 50_000
    target_network_update_freq: int = 500
    grad_clip: float = 40.0
    parameter_noise: float = 0.0
    epsilon: tuple[float, ...] = ()
    # ES
    episodes_per_batch: int = 1000
    noise_stdev: float = 0.02
    l2_coeff: float = 0.005

    def check(self, where: str) -> None:
        """Refuse values that mean nothing."""
        for name in (
            "lr",
            "rollout_fragment_length",
            "train_batch_size",
            "sgd_minibatch_size",
            "num_sgd_iter",
        ):
            _positive(f"{where}.{name}", getattr(self, name))
        for name in ("evaluation_duration", "buffer_size", "episodes_per_batch", "noise_stdev", "grad_clip"):
            _positive(f"{where}.{name}", getattr(self, name))
        if self.gamma != 1.0:
            raise UserError(f"{where}.gamma={self.gamma}; only 1 is implemented")
        if self.network not in NETWORKS:
            raise UserError(f"{where}.network={self.network!r}; it has to be one of {', '.join(NETWORKS)}")
        if bool(self.fcnet_hiddens) != (self.network == "fully-connected"):
            raise UserError(f"{where}: fcnet_hiddens goes with network=fully-connected, and only with it")
        if len(self.epsilon) not in (0, 3) or len(self.lr_schedule) not in (0, 2):
            raise UserError(f"{where}: epsilon is [first, last, steps], lr_schedule is [last value, steps]")
        if self.episodes_per_batch % 2:
            raise UserError(
                f"{where}.episodes_per_batch={self.episodes_per_batch}; ES mirrors: an even number"
            )


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name}={value}; it has to be a number above 0")


@dataclass(frozen=True)
class Configuration:
    """What one condition of an experiment computes.

    Attributes:
        env, env_config: factory of spec 2.5 and its arguments.
        leader, follower: the trainers (``common_config`` overridden by ``leader_config``, ``follower_config``).
        follower_agent_ids: empty: no follower policy (tabular Q inside the environment).
        deterministic_leader, deterministic_follower: acts greedily while the other learns; true for SimpleQ by default.
        randomize_leader: a new random leader at every pre-training episode.
        pre_training_env_config: *added* name for the arguments that differ in the pre-trainer (``tell_leader_mock``).
        pretrain_save_checkpoint, pretrain_load_checkpoint: a file's path; ``auto`` is a name of its own per game and
            seed in the run root's folder ``followers``.
    """

    env: str
    env_config: Mapping[str, Any]
    leader: TrainerConfig
    follower: TrainerConfig
    leader_algorithm: str = "PG"
    follower_algorithm: str = "PG"
    follower_agent_ids: tuple[str, ...] = ("agent_1",)
    deterministic_leader: bool = False
    deterministic_follower: bool = False
    pre_training_iterations: int = 0
    pre_training_stop_on_optimal: bool = False
    pre_training_env_config: Mapping[str, Any] = field(default_factory=dict)
    randomize_leader: bool = False
    outer_iterations: int = 1
    inner_iterations_follower: int = 1
    inner_iterations_leader: int = 1
    post_training_iterations: int = 0
    pretrain_save_checkpoint: str = ""
    pretrain_load_checkpoint: str = ""

    def check(self) -> None:
        """Refuse what can't be."""
        check_env_config(self.env, self.env_config)
        check_env_config(self.env, dict(self.env_config) | dict(self.pre_training_env_config))
        self.leader.check("leader_config")
        self.follower.check("follower_config")
        for name in ("leader_algorithm", "follower_algorithm"):
            if getattr(self, name) not in ALGORITHMS:
                raise UserError(
                    f"{name}={getattr(self, name)!r}; it has to be one of {', '.join(ALGORITHMS)}"
                )
        if self.follower_algorithm == "ES":
            raise UserError("follower_algorithm=ES; evolution strategies are a leader's here")
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int) and value < 0:
                raise UserError(f"{item.name}={value}; it can't be negative")
        tabular = self.env.endswith("tabularq")
        if tabular != (not self.follower_agent_ids):
            raise UserError(
                f"env {self.env} {'has no follower policy: follower_agent_ids must be empty' if tabular else 'needs a follower'}"
            )
        if tabular:
            for name in ("pre_training_iterations", "post_training_iterations", "inner_iterations_follower"):
                if getattr(self, name):
                    raise UserError(f"{name} must be 0: env {self.env} has no follower policy to train")


#: keys of a configuration's tree beside the fields of `Configuration`
BLOCKS = ("common_config", "leader_config", "follower_config", "seed")


def build(tree: Mapping[str, Any]) -> Configuration:
    """A configuration from a plain tree without grids.

    Raises:
        UserError: an unknown key, a wrong type, a value that can't be.
    """
    top = {item.name for item in dataclasses.fields(Configuration)} - {
        "env",
        "env_config",
        "leader",
        "follower",
    }
    _refuse_unknown(tree, top | set(BLOCKS), "")
    blocks = {name: dict(tree.get(name, {})) for name in BLOCKS[:3]}
    common = blocks["common_config"]
    if "env" not in common:
        raise UserError("common_config.env is missing")
    env, env_config = common.pop("env"), common.pop("env_config", {})
    fields = {item.name for item in dataclasses.fields(TrainerConfig)}
    trainers = {}
    for role in ("leader", "follower"):
        for name in ("common_config", f"{role}_config"):
            _refuse_unknown(
                blocks[name],
                fields | ({"env", "env_config"} if name == "common_config" else set()),
                f"{name}.",
            )
        merged = common | blocks[f"{role}_config"]
        trainers[role] = TrainerConfig(**_typed(TrainerConfig, merged, f"{role}_config."))
    values = _typed(Configuration, {k: v for k, v in tree.items() if k in top}, "")
    for role in ("leader", "follower"):
        if values.get(f"{role}_algorithm", "PG") == "SimpleQ":
            values.setdefault(f"deterministic_{role}", True)
    built = Configuration(env=env, env_config=dict(env_config), **trainers, **values)
    built.check()
    return built


def _refuse_unknown(tree: Mapping[str, Any], known: set[str], prefix: str) -> None:
    for key in tree:
        if key not in known:
            raise UserError(f"unknown key {prefix}{key}; {nearest(key, sorted(known), prefix + '{}')}")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _typed(kind: type, tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    hints = _hints(kind)
    return {name: value_of(f"{prefix}{name}", value, hints[name]) for name, value in tree.items()}


def plain(configuration: Configuration) -> dict[str, Any]:
    """The configuration as JSON, with everything that has a default."""
    return dataclasses.asdict(configuration)
