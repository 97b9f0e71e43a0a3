"""What the actor's losses need to know, as one frozen (hashable, hence static) value. Imports no JAX."""

from dataclasses import dataclass

from common.cli import UserError

#: how the opponent's action value is made a function of the learner's policy (spec section 5.4)
METHODS = ("loaded-dice", "n_step", "loaded-ios", "loaded-aa")
ADVANTAGES = ("TD0", "MC")
IOS_FORMS = ("coin", "ipd")


@dataclass(frozen=True)
class Objective:
    """The objective of one learner: its own policy gradient and the shaping of its opponent.

    Args:
        method: one of `METHODS`.
        n_step: look-ahead of `n_step`, at least 2 (with 1 no action of the learner would be credited).
        discount: lambda, decay of the credit that an action of the learner gets for later rewards.
        differentiable_current_reward: credit the learner's action at time t with the opponent's reward at t.
        stop_grad_normalizing_constant: the opponent's log-normaliser is a constant.
        inf_weight: weight of the prisoner's-dilemma form of `loaded-ios`; nobody else reads it.
        op_softmax_temp: tau, temperature of the softmax over the opponent's action values.
        reward_discount: gamma.
        advantage: `TD0` or `MC`.
        stop_grad_advantage: treat advantages as constants (spec, Q2: TD0 advantages are not, as released).
        ios_form: which of the two programs' forms of `loaded-ios`.

    Raises:
        UserError: a value that the maths has no meaning for.
    """

    method: str = "loaded-dice"
    n_step: int = 2
    discount: float = 0.9
    differentiable_current_reward: bool = False
    stop_grad_normalizing_constant: bool = False
    inf_weight: float = 0.5
    op_softmax_temp: float = 1.0
    reward_discount: float = 0.96
    advantage: str = "TD0"
    stop_grad_advantage: bool = False
    ios_form: str = "coin"

    def __post_init__(self):
        for name, known in (("method", METHODS), ("advantage", ADVANTAGES), ("ios_form", IOS_FORMS)):
            value = getattr(self, name)
            if value not in known:
                raise UserError(f"unknown {name} {value!r}; there are {', '.join(known)}")
        if self.method == "n_step" and self.n_step < 2:
            raise UserError(
                f"n_step {self.n_step} credits no action of the learner; the method n_step needs at least 2"
            )
        if self.op_softmax_temp <= 0:
            raise UserError(f"op_softmax_temp {self.op_softmax_temp} must be above 0")
