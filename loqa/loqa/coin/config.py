"""The configuration of `coin_train.py`: every key of ``hp`` that is read, and those of the original that nobody read.

Neither JAX nor flax is imported here, so that a wrong key is answered at once. What each key means is written beside
it in ``config/coin/config.yaml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.cli import UserError
from common.settings import at_least, choice, fraction, number, positive, switch, text
from loqa import settings
from loqa.objective import Objective
from loqa.settings import Launch

PROGRAM = "coin_train.py"
OFF, ON = "disabled", "enabled"

# DEVIATION(Q18): three of the original's five groups lack keys and stop at once (test, the default, and loqa: the
# training's own keys; reproduce_juan: stop_grad_normalizing_constant). `config/coin/config.yaml` completes them
DEAD = {
    "hp.actor.inf_weight": "is computed with and then unused by the original's Coin Game",
    "hp.actor.train.inf_weight": "was never read by the original",
    "hp.qvalue.replay_buffer.capacity": "belongs to ipd.py; there is no buffer of episodes here",
    "hp.wandb_dir": "was never read by the original; wandb.wandb_dir is the key",
}


@dataclass(frozen=True)
class Game:
    height: int = at_least(1)
    width: int = at_least(1)
    gnumactions: int = at_least(1)
    game_length: int = at_least(1)


@dataclass(frozen=True)
class ClipGrad:
    mode: str = choice(OFF, "norm")
    max_norm: float = positive()


@dataclass(frozen=True)
class ActorTrain:
    optimizer: str = choice("adam", "sgd")
    separate: str = choice(OFF, ON)
    lr_loss_actor: float = at_least(0)
    lr_loss_actor_agent: float = at_least(0)
    lr_loss_actor_opponent: float = at_least(0)
    entropy_beta: float = at_least(0)
    advantage: str = choice("TD0", "MC")
    stop_grad_advantage: bool = switch()
    clip_grad: ClipGrad


@dataclass(frozen=True)
class Actor:
    hidden_size: int = at_least(1)
    layers_before_gru: int = choice(0, 1, 2)
    train: ActorTrain


@dataclass(frozen=True)
class QTrain:
    optimizer: str = choice("adam", "sgd")
    lr_loss_qvalue: float = at_least(0)
    target_ema_gamma: float = fraction()


@dataclass(frozen=True)
class EpisodeBuffer:
    mode: str = choice(OFF, ON)


@dataclass(frozen=True)
class QValue:
    hidden_size: int = at_least(1)
    layers_before_gru: int = choice(0, 1, 2)
    mode: str = choice("mean", "argmax")
    train: QTrain
    replay_buffer: EpisodeBuffer


@dataclass(frozen=True)
class DifferentiableOpponent:
    method: str = choice("loaded-dice", "n_step", "loaded-ios", "loaded-aa")
    n_step: int = at_least(2)
    discount: float = fraction()
    exclude_after_step: float = at_least(0)
    differentiable_current_reward: bool = switch()
    stop_grad_normalizing_constant: str = choice(OFF, ON)


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
    eval_scripted: bool = switch()
    save_every: int = at_least(1)
    save_dir: str = text()
    batch_size: int = at_least(1)
    reward_discount: float = fraction()
    op_softmax_temp: float = positive()
    just_self_play: bool = switch()
    independent_init: bool = switch()
    agent_0: str = choice("loqa", "naive")
    agent_1: str = choice("loqa", "naive")
    opponent_differentiation_weight: float = number()
    game: Game
    actor: Actor
    qvalue: QValue
    differentiable_opponent: DifferentiableOpponent
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
            stop_grad_normalizing_constant=opponent.stop_grad_normalizing_constant == ON,
            op_softmax_temp=self.op_softmax_temp,
            reward_discount=self.reward_discount,
            advantage=train.advantage,
            stop_grad_advantage=train.stop_grad_advantage,
            ios_form="coin",
        )

    @property
    def learners(self) -> tuple[str, ...]:
        """Kinds of the agents that learn: one in self-play, else two."""
        return (self.agent_0,) if self.just_self_play else (self.agent_0, self.agent_1)


def check(hp: Hp) -> None:
    """Refuse keys that do not go together. Raises: UserError."""
    game = hp.game
    if game.height * game.width <= 2:
        raise UserError(
            f"hp.game.height={game.height} hp.game.width={game.width}: a coin needs a cell that neither player "
            "stands on, so the board needs more than 2"
        )
    if game.gnumactions != 4:
        # DEVIATION(Q11): the original's two actions need a board of 1 x 2, on which no coin finds a free cell
        raise UserError(f"hp.game.gnumactions={game.gnumactions}; it has to be 4 (left, right, up, down)")
    if hp.qvalue.replay_buffer.mode != OFF:
        raise UserError(
            f"hp.qvalue.replay_buffer.mode={hp.qvalue.replay_buffer.mode}; the Coin Game has no buffer of "
            "episodes, it has to be disabled"
        )
    if hp.just_self_play and "naive" in (hp.agent_0, hp.agent_1):
        raise UserError(
            "a naive agent does not shape itself: hp.agent_0/1=naive needs hp.just_self_play=False"
        )
    if hp.just_self_play and hp.independent_init:
        raise UserError("hp.independent_init=True needs two learners: hp.just_self_play=False")
    method, n_step = hp.differentiable_opponent.method, hp.differentiable_opponent.n_step
    if method == "n_step" and n_step > game.game_length:
        raise UserError(
            f"hp.differentiable_opponent.n_step={n_step} looks past an episode of "
            f"hp.game.game_length={game.game_length}"
        )


def parse(argv: Sequence[str] | None = None) -> Launch:
    """A command line, understood and checked; see `loqa.settings.read`.

    Raises:
        UserError: an unknown key, a value out of range, keys that do not go together.
    """
    launch = settings.read(argv, program=PROGRAM, root="coin", hp_type=Hp, dead=DEAD)
    check(launch.hp)
    return launch
