"""The losses, as RLlib Learners: PG and SimpleQ of our own, PPO as RLlib has it with the paper's minibatches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_KL_KEY
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch


class Kept:
    """What every learner here adds to RLlib's: statistics of an update, and its state as named arrays."""

    def statistics(self, trained: str) -> dict[str, float]:
        """Means over the gradient steps of the last update."""
        parts = self.parts.pop(trained, [])
        return {name: float(np.mean([part[name] for part in parts])) for name in (parts[0] if parts else ())}

    def keep(self, module_id: str, **parts: torch.Tensor) -> None:
        self.parts.setdefault(module_id, []).append({name: float(x.detach()) for name, x in parts.items()})

    def build(self) -> None:
        super().build()
        self.parts: dict[str, list[dict[str, float]]] = {}

    def arrays(self, trained: str) -> dict[str, np.ndarray]:
        """Adam's memory of the trained module; its parameters are asked for elsewhere."""
        (_, optimizer), *_ = self.get_optimizers_for_module(trained)
        return {
            f"adam/{number}/{name}": value.detach().numpy().copy()
            for number, slots in optimizer.state_dict()["state"].items()
            for name, value in slots.items()
        }

    def restore(self, trained: str, arrays: dict[str, np.ndarray]) -> None:
        """Take `arrays` back; without any, Adam starts afresh."""
        (_, optimizer), *_ = self.get_optimizers_for_module(trained)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in arrays.items():
            if name.startswith("adam/"):
                _, number, slot = name.split("/")
                state.setdefault(int(number), {})[slot] = torch.from_numpy(np.array(value))
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class PGLearner(Kept, TorchLearner):
    """Loss = - mean over samples of log pi(a_t | o_t) R_t: no baseline, no entropy, nothing clipped (spec 5.3)."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict, fwd_out: dict
    ) -> torch.Tensor:
        distribution = self.module[module_id].unwrapped().get_train_action_dist_cls()
        log_pi = distribution.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS]).logp(batch[Columns.ACTIONS])
        loss = -torch.mean(log_pi * batch[Columns.RETURNS_TO_GO])
        self.keep(module_id, policy_loss=loss)
        return loss


class PPOLearner(Kept, PPOTorchLearner):
    """RLlib's PPO loss on exact minibatches; the divergence that moves its coefficient is the mean over all of them.

    RLlib 2.60 cuts minibatches across the epochs and adds bootstrap rows; here an epoch is the batch shuffled and cut.
    `config.remainder` (Q4) trains on the rest of an epoch too, at a random place; else the rest is dropped, and a batch
    below two minibatches is one.
    """

    def _create_iterator_if_necessary(
        self, *, training_data: Any, **kwargs: Any
    ) -> Iterator[MultiAgentBatch]:
        whole = self._make_batch_if_necessary(training_data=training_data)
        (module_id, columns), *_ = whole.policy_batches.items()
        for rows in minibatches(
            len(columns), self.config.minibatch_size, self.config.num_epochs, self.config.remainder
        ):
            chosen = columns if rows is None else SampleBatch({name: x[rows] for name, x in columns.items()})
            yield MultiAgentBatch({module_id: chosen}, env_steps=len(chosen))

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict, fwd_out: dict
    ) -> torch.Tensor:
        total = super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        names = {
            "policy_loss": POLICY_LOSS_KEY,
            "vf_loss": VF_LOSS_KEY,
            "kl": LEARNER_RESULTS_KL_KEY,
            "entropy": ENTROPY_KEY,
        }
        parts = {name: self.metrics.peek((module_id, key)) for name, key in names.items()}
        coefficient = self.curr_kl_coeffs_per_module[module_id]
        self.keep(
            module_id,
            total_loss=total,
            cur_kl_coeff=coefficient,
            **{name: torch.as_tensor(value) for name, value in parts.items()},
        )
        return total

    def _update_module_kl_coeff(self, *, module_id: str, config: Any, kl_loss: float) -> None:
        if module_id in self.parts:
            mean = float(np.mean([part["kl"] for part in self.parts[module_id]]))
            super()._update_module_kl_coeff(module_id=module_id, config=config, kl_loss=mean)

    def arrays(self, trained: str) -> dict[str, np.ndarray]:
        coefficient = self.curr_kl_coeffs_per_module[trained]
        return super().arrays(trained) | {"kl_coefficient": coefficient.detach().numpy().copy()}

    def restore(self, trained: str, arrays: dict[str, np.ndarray]) -> None:
        super().restore(trained, arrays)
        if "kl_coefficient" in arrays:
            self.curr_kl_coeffs_per_module[trained].data.fill_(float(arrays["kl_coefficient"]))


def minibatches(size: int, minibatch: int, epochs: int, remainder: bool) -> Iterator[torch.Tensor | None]:
    """Rows of every minibatch in turn; None is the whole batch in its order."""
    whole, rest = divmod(size, minibatch)
    for _ in range(epochs):
        if not remainder and size < 2 * minibatch:
            yield None
            continue
        order = torch.from_numpy(np.random.permutation(size))
        cuts = [order[k * minibatch : (k + 1) * minibatch] for k in range(whole)]
        if remainder and rest:
            cuts.insert(np.random.randint(whole + 1), order[size - rest :])
        yield from cuts


class SimpleQLearner(Kept, TorchLearner):
    """Mean Huber loss (delta 1) of Q(o, a) against r + max_a Q_target(o', a), nothing after the last step (spec 5.5)."""

    def build(self) -> None:
        super().build()
        self.targets = {module_id: copy.deepcopy(module) for module_id, module in self.module.items()}

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict, fwd_out: dict
    ) -> torch.Tensor:
        actions = batch[Columns.ACTIONS].long()[:, None]
        values = fwd_out[Columns.ACTION_DIST_INPUTS].gather(1, actions)[:, 0]
        with torch.no_grad():
            best = self.targets[module_id].outputs_of(batch[Columns.NEXT_OBS]).max(1).values
            targets = batch[Columns.REWARDS] + (1 - batch[Columns.TERMINATEDS].float()) * best
        loss = torch.nn.functional.huber_loss(values, targets)
        self.keep(module_id, loss=loss)
        return loss

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """The learning rate falls linearly over the env steps of `config.schedule` (last value, steps)."""
        super().before_gradient_based_update(timesteps=timesteps)
        if self.config.schedule:
            last, steps = self.config.schedule
            done = min(timesteps["sampled"] / steps, 1.0)
            for _, optimizer in self.get_optimizers_for_module(self.config.trained):
                self._set_optimizer_lr(optimizer, self.config.lr + (last - self.config.lr) * done)

    def synchronise_target(self, trained: str) -> None:
        self.targets[trained].load_state_dict(self.module[trained].state_dict())

    def arrays(self, trained: str) -> dict[str, np.ndarray]:
        target = self.targets[trained].get_state()
        return super().arrays(trained) | {f"target/{name}": value for name, value in target.items()}

    def restore(self, trained: str, arrays: dict[str, np.ndarray]) -> None:
        super().restore(trained, arrays)
        start = "target/"
        target = {name[len(start) :]: value for name, value in arrays.items() if name.startswith(start)}
        if target:
            self.targets[trained].set_state(target)
        else:
            self.synchronise_target(trained)
