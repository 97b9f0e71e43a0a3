"""Training the reward model (spec section 5.3): epochs over minibatches, one compiled scan each; lanes of seed and alpha.

Preferences come from the synthetic judge of the paper, drawn anew at every visit, or from a list of explicit
comparisons (people's, `data.people`). The two differ in what a minibatch is and in nothing else:

    synthetic   M trajectories; 10 M pairs of them, each with a fresh label and the judge's own margin as the baseline
    explicit    P comparisons, each of two sides; no baseline, because nobody knows a person's margin
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.cli import UserError
from marlhf import reward_model
from marlhf.data import preferences
from marlhf.data.trajectories import Trajectories
from marlhf.reward_model import Architecture, Losses, trajectory_rewards


@dataclass(frozen=True)
class RewardTrainingSettings:
    """The original's keys, in lower case (spec section 2.6).

    Attributes:
        minibatch_size: M, trajectories per step (of explicit comparisons: at most so many sides per step).
        reward_model_epochs: passes over the training split.
        lr: peak of the cosine cycle.
        max_grad_norm: the gradient's global norm is clipped to it.
        steepness: k of the synthetic judge.
        mse_loss_coef: alpha, the weight of the regulariser along time.
        debug: an epoch is one minibatch to train and one to test on.
    """

    minibatch_size: int = 256
    reward_model_epochs: int = 100
    lr: float = 1e-3
    max_grad_norm: float = 0.5
    steepness: float = 10.0
    mse_loss_coef: float = 0.1
    debug: bool = False

    def __post_init__(self) -> None:
        for name, least in (("minibatch_size", 2), ("reward_model_epochs", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name.upper()}={getattr(self, name)}; it has to be at least {least}")
        for name in ("lr", "max_grad_norm", "steepness"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UserError(f"{name.upper()}={getattr(self, name)}; it has to be a number above 0")
        if not (np.isfinite(self.mse_loss_coef) and self.mse_loss_coef >= 0):
            raise UserError(f"MSE_LOSS_COEF={self.mse_loss_coef}; it has to be a number from 0 on")


class Comparisons(NamedTuple):
    """P explicit comparisons of two sides; a side is one trajectory, or the mean of a team's.

    ``members`` [P, 2, m] int32: the trajectories of each side; ``target`` [P] float32: 1 where the first side was
    preferred, 0 where the second was, 1/2 where neither.
    """

    members: Any
    target: Any


class Data(NamedTuple):
    """What training reads; handed to `advance`, so that it is no constant of the compiled program."""

    trajectories: Trajectories
    returns: Any  # [N] float32, by which the synthetic judge judges
    comparisons: Comparisons | None  # explicit ones, instead of the synthetic judge


class Report(NamedTuple):
    """The means of the last epoch (scalars); `learning_rate` is that of its last gradient step."""

    train: Losses
    test: Losses
    learning_rate: Any


class State(NamedTuple):
    """Everything that training carries; all leaves are arrays."""

    params: Any
    optimiser: Any
    best_params: Any
    best_loss: Any  # the lowest mean total test loss so far
    best_epoch: Any  # int32, counted from 1; 0 before the first
    epoch: Any  # int32, epochs done
    split_key: Any  # which trajectories are for testing
    key: Any
    mse_loss_coef: Any
    report: Report


class _Plan(NamedTuple):
    """How a shuffled data set is cut into minibatches (plain ints).

    The first `pool` items are for training, in `training` minibatches of `size` (what is over takes no part in this
    epoch); the next ones for testing, in `testing` minibatches of `test_size`.
    """

    pool: int
    size: int
    training: int
    test_size: int
    testing: int


def make_data(trajectories: Trajectories, comparisons: Comparisons | None = None) -> Data:
    """What `RewardTraining.advance` reads, on the device."""
    returns = np.asarray(trajectories.returns, np.float32)
    return jax.tree.map(jnp.asarray, Data(trajectories, returns, comparisons))


@dataclass(frozen=True)
class RewardTraining:
    """`fresh(seed) -> state` and `advance(state, n, data) -> (state, report)`, both pure; work is counted in epochs.

    Both can be vmapped: a lane of `fresh(seed, alpha)`, advanced beside others on the same data, is the single run of
    that seed and alpha.
    """

    settings: RewardTrainingSettings
    architecture: Architecture

    def fresh(self, seed, mse_loss_coef=None) -> State:
        """The state before the first epoch.

        Args: `seed` uint32; `mse_loss_coef` alpha of this lane (default: the settings').
        """
        # DEVIATION(Q17): the split, the epochs and the weights have keys of their own; the original shares one
        init_key, split_key, key = jax.random.split(jax.random.key(seed), 3)
        params = self.architecture.init(init_key)
        alpha = self.settings.mse_loss_coef if mse_loss_coef is None else mse_loss_coef
        nothing = Losses(*jnp.full(4, jnp.nan))
        return State(
            params=params,
            optimiser=self._optimiser().init(params),
            best_params=params,
            # DEVIATION(Q22): the first epoch is always a best one; the original never keeps a loss above 1
            best_loss=jnp.asarray(jnp.inf),
            best_epoch=jnp.int32(0),
            epoch=jnp.int32(0),
            split_key=jax.random.key_data(split_key),
            key=jax.random.key_data(key),
            mse_loss_coef=jnp.asarray(alpha, jnp.float32),
            report=Report(nothing, nothing, jnp.asarray(jnp.nan)),
        )

    def advance(self, state: State, n, data: Data) -> tuple[State, Report]:
        """`n` epochs (int32, may be 0), and the report of the last one done.

        Raises: UserError when the data are too few for one minibatch to train and one to test on.
        """
        plan = self.plan(data)
        count = data.returns.shape[0] if data.comparisons is None else data.comparisons.target.shape[0]
        order = jax.random.permutation(jax.random.wrap_key_data(state.split_key), count)
        spread = None
        if data.comparisons is None:
            spread = preferences.return_range(data.returns[order[: plan.pool]])

        def loss(params, index, key, alpha):
            kind = self._synthetic if data.comparisons is None else self._explicit
            return kind(params, index, key, alpha, data, spread)

        def epoch(_, state):
            return self._epoch(state, order, plan, loss)

        state = jax.lax.fori_loop(0, n, epoch, state)
        return state, state.report

    def plan(self, data: Data) -> _Plan:
        """Minibatch size and counts for a data set.

        Raises: UserError when it is too small.
        """
        size = self.settings.minibatch_size
        if data.comparisons is None:
            count = data.returns.shape[0]
            training, testing = preferences.split_sizes(count, size)
            if not training:
                raise UserError(
                    f"{count} trajectories are less than two minibatches of MINIBATCH_SIZE={size}, one to train "
                    "and one to test on; use more files or a smaller MINIBATCH_SIZE"
                )
            batches = (1, 1) if self.settings.debug else (training, testing)
            return _Plan(training * size, size, batches[0], size, batches[1])
        count, _, members = data.comparisons.members.shape
        if count < 2:
            raise UserError(f"{count} comparisons; at least two are needed, one to train and one to test on")
        test_size = max(count // 10, 1)
        pool = count - test_size
        size = min(max(size // (2 * members), 1), pool)
        return _Plan(pool, size, 1 if self.settings.debug else pool // size, test_size, 1)

    def rewards(self, params, trajectories: Trajectories, index) -> jax.Array:
        """Predicted rewards [B, L] of the trajectories numbered `index` [B]."""
        state = trajectories.world_state[trajectories.world_index[index]]
        chosen = (getattr(trajectories, name)[index] for name in ("obs", "actions"))
        return trajectory_rewards(self.architecture, params, *chosen, state, trajectories.resets[index])

    def _optimiser(self):
        return reward_model.optimiser(self.settings.lr, self.settings.max_grad_norm)

    def _synthetic(self, params, index, key, alpha, data: Data, spread) -> Losses:
        pair_key, label_key = jax.random.split(key)
        size = index.shape[0]
        pairs = preferences.draw_pairs(pair_key, size, preferences.PAIRS_PER_TRAJECTORY * size)
        margins = preferences.margin(data.returns[index], pairs, spread, self.settings.steepness)
        target = (preferences.draw_labels(label_key, margins) + 1.0) / 2.0
        rewards = self.rewards(params, data.trajectories, index)
        first, second = rewards.sum(axis=1)[pairs]
        return reward_model.combine(first - second, target, margins, rewards, alpha)

    def _explicit(self, params, index, key, alpha, data: Data, spread) -> Losses:
        del key, spread
        members = data.comparisons.members[index]
        rewards = self.rewards(params, data.trajectories, members.reshape(-1))
        sides = rewards.sum(axis=1).reshape(members.shape).mean(axis=2)
        return reward_model.combine(
            sides[:, 0] - sides[:, 1], data.comparisons.target[index], None, rewards, alpha
        )

    def _epoch(self, state: State, order, plan: _Plan, loss) -> State:
        """All training minibatches in a fresh order, then all test minibatches; the best model is kept."""
        key, shuffle_key, train_key, test_key = jax.random.split(jax.random.wrap_key_data(state.key), 4)
        chosen = jax.random.permutation(shuffle_key, order[: plan.pool])[: plan.training * plan.size]
        tests = order[plan.pool : plan.pool + plan.testing * plan.test_size]
        optimiser, alpha = self._optimiser(), state.mse_loss_coef

        def step(carry, inputs):
            params, inner = carry

            def total(params):
                losses = loss(params, *inputs, alpha)
                return losses.total, losses

            gradient, losses = jax.grad(total, has_aux=True)(params)
            updates, inner = optimiser.update(gradient, inner, params)
            return (jax.tree.map(jnp.add, params, updates), inner), losses

        def test(_, inputs):
            return None, loss(params, *inputs, alpha)

        batches = (chosen.reshape(plan.training, plan.size), jax.random.split(train_key, plan.training))
        (params, inner), trained = jax.lax.scan(step, (state.params, state.optimiser), batches)
        batches = (tests.reshape(plan.testing, plan.test_size), jax.random.split(test_key, plan.testing))
        _, tested = jax.lax.scan(test, None, batches)
        mean = Losses(*(part.mean() for part in tested))
        better = mean.total < state.best_loss
        steps = (state.epoch + 1) * plan.training
        return state._replace(
            params=params,
            optimiser=inner,
            best_params=jax.tree.map(lambda new, old: jnp.where(better, new, old), params, state.best_params),
            best_loss=jnp.where(better, mean.total, state.best_loss),
            best_epoch=jnp.where(better, state.epoch + 1, state.best_epoch),
            epoch=state.epoch + 1,
            key=jax.random.key_data(key),
            report=Report(
                Losses(*(part.mean() for part in trained)),
                mean,
                reward_model.learning_rate(self.settings.lr, steps - 1),
            ),
        )
