"""The configuration of `ipd.py`: every key of ``hp`` that is read, and those of the original that nobody read.

Neither JAX nor flax is imported here, so that a wrong key is answered at once. What each key means is written beside
it in ``config/ipd/``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from common.cli import UserError
from common.settings import at_least, choice, fraction, number, positive, switch, text
from loqa import settings
from loqa.objective import Objective
from loqa.settings import Launch

PROGRAM = "ipd.py"
OFF, ON = "disabled", "enabled"
#: models whose policy depends on the last joint action only
MEMORY_ONE = ("logits", "mlp")

_UNREAD = "was never read by the original"
DEAD = {
    "hp.game_name": f"{_UNREAD}: ipd.py plays the iterated prisoner's dilemma",
    "hp.differentiable_opponent.exclude_after_step": f"{_UNREAD} here (coin_train.py reads it)",
    "hp.differentiable_opponent.stop_grad_normalizing_constant": "belongs to coin_train.py",
    "hp.actor.hidden_size": f"{_UNREAD}: the networks of the IPD have fixed sizes",
    "hp.actor.layers_before_gru": f"{_UNREAD}: the networks of the IPD have fixed sizes",
    "hp.actor.inf_weight": f"{_UNREAD}; hp.actor.train.inf_weight is the one that method=loaded-ios reads",
    "hp.qvalue.hidden_size": f"{_UNREAD}: the networks of the IPD have fixed sizes",
    "hp.qvalue.layers_before_gru": f"{_UNREAD}: the networks of the IPD have fixed sizes",
}


@dataclass(frozen=True)
class DifferentiableOpponent:
    method: str = choice("loaded-dice", "n_step", "loaded-ios")
    n_step: int = at_least(2)
    discount: float = fraction()
    differentiable_current_reward: bool = switch()


@dataclass(frozen=True)
class ClipGrad:
    mode: str = choice(OFF, "norm")
    max_norm: float = positive()


@dataclass(frozen=True)
class ActorTrain:
    separate_optimizers: str = choice(OFF, ON)
    lr_loss_actor: float = at_least(0)
    lr_loss_agent: float = at_least(0)
    lr_loss_opponent: float = at_least(0)
    entropy_beta: float = at_least(0)
    advantage: str = choice("TD0", "MC")
    stop_grad_advantage: bool = switch()
    centre_advantage: bool = switch()
    inf_weight: float = at_least(0)
    freeze: int = at_least(0)
    clip_grad: ClipGrad


@dataclass(frozen=True)
class Actor:
    model: str = choice("logits", "gru", "mlp")
    activation: str = choice("relu", "tanh")
    train: ActorTrain


@dataclass(frozen=True)
class QTrain:
    lr_loss_qvalue: float = at_least(0)
    target_ema_gamma: float = fraction()


@dataclass(frozen=True)
class EpisodeBuffer:
    mode: str = choice(OFF, ON)
    capacity: int = at_least(1)


@dataclass(frozen=True)
class QValue:
    mode: str = choice("mean", "argmax")
    target: str = choice("bootstrapped", "finite-horizon", "monte-carlo")
    loss: str = choice("huber", "squared")
    time_input: str = choice("raw", "scaled")
    train: QTrain
    replay_buffer: EpisodeBuffer


@dataclass(frozen=True)
class Reset:
    mode: str = choice(OFF, ON)
    every: int = at_least(1)


@dataclass(frozen=True)
class AgentBuffer:
    mode: str = choice(OFF, ON)
    capacity: int = at_least(1)
    update_freq: int = at_least(1)
    cur_agent_frac: float = fraction()


@dataclass(frozen=True)
class Hp:
    """The tree ``hp`` of one run."""

    seed: int = at_least(0)
    max_iterations: int = at_least(0)
    eval_every: int = at_least(1)
    save_every: int = at_least(1)
    save_dir: str = text()
    game_length: int = at_least(1)
    batch_size: int = at_least(1)
    reward_discount: float = fraction()
    reward_offset: float = number()
    op_softmax_temp: float = positive()
    just_self_play: bool = switch()
    epsilon_greedy: float = fraction()
    rng_mode: str = choice("fixed", "fresh")
    optimizer: str = choice("adam", "sgd")
    opponent_differentiation_weight: float = number()
    differentiable_opponent: DifferentiableOpponent
    actor: Actor
    qvalue: QValue
    reset: Reset
    agent_replay_buffer: AgentBuffer

    @property
    def objective(self) -> Objective:
        """What the losses need to know."""
        opponent, train = self.differentiable_opponent, self.actor.train
        return Objective(
            method=opponent.method,
            n_step=opponent.n_step,
            discount=opponent.discount,
            differentiable_current_reward=opponent.differentiable_current_reward,
            inf_weight=train.inf_weight,
            op_softmax_temp=self.op_softmax_temp,
            reward_discount=self.reward_discount,
            advantage=train.advantage,
            stop_grad_advantage=train.stop_grad_advantage,
            ios_form="ipd",
        )

    @property
    def exploration(self) -> float:
        """Epsilon as it is used: a recurrent policy explores by its own randomness only (spec, Q13: kept)."""
        return self.epsilon_greedy if self.actor.model in MEMORY_ONE else 0.0


def _check(hp: Hp) -> None:
    method, n_step = hp.differentiable_opponent.method, hp.differentiable_opponent.n_step
    if method == "n_step" and n_step > hp.game_length:
        raise UserError(
            f"hp.differentiable_opponent.n_step={n_step} looks past an episode of hp.game_length={hp.game_length}"
        )
    if hp.epsilon_greedy and not hp.exploration:
        print(
            f"{PROGRAM}: hp.epsilon_greedy={hp.epsilon_greedy:g} does nothing with hp.actor.model={hp.actor.model}",
            file=sys.stderr,
        )


def parse(argv: Sequence[str] | None = None) -> Launch:
    """A command line, understood and checked; see `loqa.settings.read`.

    Raises:
        UserError: an unknown key, a value out of range, keys that do not go together.
    """
    launch = settings.read(argv, program=PROGRAM, root="ipd", hp_type=Hp, dead=DEAD)
    _check(launch.hp)
    return launch
