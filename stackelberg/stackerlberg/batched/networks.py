"""Policies and action values: a small network is the table of its outputs for every observation there is.

Observations are finitely many, so an algorithm works on the table [A, O, N] and its gradient, and a network only says
how parameters make that table. Backwards, `jax.vjp` carries a table's gradient to the parameters (spec 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stackerlberg.batched.arrays import normal


def normc(noise: Array, std: float) -> Array:
    """Rows scaled to Euclidean norm `std` (RLlib's initialiser): [rows, columns, ..., N], norm over columns."""
    return std * noise / jnp.sqrt((noise**2).sum(1, keepdims=True))


@dataclass(frozen=True)
class Network:
    """How parameters make the table of outputs.

    Attributes:
        features: what the network sees of each observation, [K][O]; None is the one-hot code, that is a plain table.
        hiddens: sizes of tanh layers.
        bias: every layer has one.
        outputs: A.
        observations: O.
    """

    outputs: int
    observations: int
    features: tuple[tuple[float, ...], ...] | None = None
    hiddens: tuple[int, ...] = ()
    bias: bool = False

    @property
    def plain(self) -> bool:
        """The parameters are the table itself."""
        return self.features is None and not self.hiddens and not self.bias

    def sizes(self) -> list[int]:
        """Units from input to output."""
        inputs = self.observations if self.features is None else len(self.features)
        return [inputs, *self.hiddens, self.outputs]

    def fresh(self, keys: Array, lanes: int, std: float = 0.01) -> dict[str, Array]:
        """New parameters: ``layer{k}`` [out, in, N] with rows of norm 1 (last layer: `std`), biases 0."""
        sizes, params = self.sizes(), {}
        for k, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            noise = normal(jax.vmap(lambda key, k=k: jax.random.fold_in(key, k))(keys), (n_out, n_in), lanes)
            params[f"layer{k}"] = normc(noise, std if k == len(sizes) - 2 else 1.0)
            if self.bias:
                params[f"bias{k}"] = jnp.zeros((n_out, lanes))
        return params

    def table(self, params: dict[str, Array]) -> Array:
        """Outputs for every observation, [A, O, *, N]: parameters may carry axes between theirs and the lanes."""
        if self.plain:
            return params["layer0"]
        activity = self._inputs(params["layer0"].ndim - 2)
        layers = len(self.sizes()) - 1
        for k in range(layers):
            weights = params[f"layer{k}"]  # [out, in, *, N] times [in, O, *, N]
            activity = (weights[:, :, None] * activity[None]).sum(1)
            if self.bias:
                activity = activity + params[f"bias{k}"][:, None]
            if k < layers - 1:
                activity = jnp.tanh(activity)
        return activity

    def _inputs(self, trailing: int) -> Array:
        seen = np.eye(self.observations) if self.features is None else np.array(self.features)
        return jnp.asarray(seen, jnp.float32).reshape(*seen.shape, *(1,) * trailing)

    def pull(self, params: dict[str, Array], table_gradient: Array) -> dict[str, Array]:
        """The parameters' gradient from the table's."""
        if self.plain:
            return {"layer0": table_gradient}
        return jax.vjp(self.table, params)[1](table_gradient)[0]
