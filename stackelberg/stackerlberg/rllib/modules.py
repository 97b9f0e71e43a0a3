"""Policies as a `TorchRLModule`: a table, or a small network, with the ways to act that training switches between."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import nn

from common.cli import UserError

SAMPLE, GREEDY, EPSILON, POPULATION = "sample", "greedy", "epsilon", "population"


def sizes_of(space: spaces.Space, action_space: spaces.Space) -> tuple[int, int]:
    """Inputs and outputs of a policy's network: whole numbers are one-hot, bounded actions have mean and log sd.

    Raises:
        UserError: actions that no policy here gives.
    """
    inputs = int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape))
    if isinstance(action_space, spaces.Discrete):
        return inputs, int(action_space.n)
    if isinstance(action_space, spaces.Box):
        return inputs, 2 * int(np.prod(action_space.shape))
    raise UserError(f"engine rllib has no policy for actions in {action_space}; use whole numbers or a Box")


class TableModule(TorchRLModule, ValueFunctionAPI):
    """Logits, or action values, of one agent (spec 4): ``W x`` without bias for one-hot x, so W is a table.

    ``model_config``: ``hiddens`` (tanh layers), ``bias``, ``value`` (a value table of its own, for PPO), ``behaviour``.

    Attributes:
        behaviour: how it acts when it explores, for this agent alone: ``sample``, ``greedy``, ``epsilon``-greedily with
            `epsilon`, or ``population``: row k of the batch acts by the logits `population` [K, outputs, inputs].
    """

    def setup(self) -> None:
        config = self.model_config
        inputs, outputs = sizes_of(self.observation_space, self.action_space)
        sizes = [inputs, *config.get("hiddens", ()), outputs]
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.layers = nn.ModuleList([nn.Linear(n, m, bias=config.get("bias", False)) for n, m in pairs])
        if config.get("value", False):
            self.value = nn.Linear(inputs, 1, bias=False)
        self.behaviour, self.epsilon, self.population = config.get("behaviour", SAMPLE), 0.0, None
        self.numbered = isinstance(self.observation_space, spaces.Discrete)

    def _first(self, layer: nn.Linear, seen: torch.Tensor) -> torch.Tensor:
        if not self.numbered:
            return layer(seen)
        rows = layer.weight.t()[seen.long()]
        return rows if layer.bias is None else rows + layer.bias

    def outputs_of(self, seen: torch.Tensor) -> torch.Tensor:
        """[B] whole numbers or [B, inputs] -> [B, outputs]."""
        activity = self._first(self.layers[0], seen)
        for layer in list(self.layers)[1:]:
            activity = layer(torch.tanh(activity))
        return activity

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        return self._first(self.value, batch[Columns.OBS])[:, 0]

    def _forward(self, batch: dict[str, Any], **kwargs) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.outputs_of(batch[Columns.OBS])}

    def _greedy(self, values: torch.Tensor) -> torch.Tensor:
        """The first best action; of bounded actions the mean."""
        if isinstance(self.action_space, spaces.Discrete):
            return values.argmax(-1)
        return values.chunk(2, dim=-1)[0]

    def _forward_inference(self, batch: dict[str, Any], **kwargs) -> dict[str, Any]:
        with torch.no_grad():
            return {Columns.ACTIONS: self._greedy(self.outputs_of(batch[Columns.OBS]))}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs) -> dict[str, Any]:
        seen = batch[Columns.OBS]
        with torch.no_grad():
            if self.behaviour == POPULATION:
                rows = torch.arange(len(seen))
                return {Columns.ACTION_DIST_INPUTS: self.population[rows, :, seen.long()]}
            values = self.outputs_of(seen)
        if self.behaviour == SAMPLE:
            return {Columns.ACTION_DIST_INPUTS: values}
        actions = self._greedy(values)
        if self.behaviour == EPSILON:
            random = torch.randint(values.shape[-1], actions.shape)
            actions = torch.where(torch.rand(actions.shape) < self.epsilon, random, actions)
        return {Columns.ACTIONS: actions}


def fresh_weights(
    inputs: int, outputs: int, hiddens: tuple[int, ...], bias: bool, value: bool, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """New parameters under the module's names: normal, rows scaled to norm 1, in the last layer and the value's to .01."""
    sizes, weights = [inputs, *hiddens, outputs], {}

    def rows(n: int, m: int, norm: float) -> np.ndarray:
        drawn = random.normal(size=(m, n))
        return (norm * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    for k, (n, m) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        weights[f"layers.{k}.weight"] = rows(n, m, 0.01 if k == len(sizes) - 2 else 1.0)
        if bias:
            weights[f"layers.{k}.bias"] = np.zeros(m, np.float32)
    if value:
        weights["value.weight"] = rows(inputs, 1, 0.01)
    return weights
