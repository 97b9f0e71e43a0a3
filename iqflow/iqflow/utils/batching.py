"""How a mapped axis is worked off."""

from collections.abc import Callable

import jax


def one_after_the_other(function: Callable, when: bool) -> Callable:
    """`function`, of whose `vmap` a CPU works off one entry after the other, as `lax.map` does, if `when`.

    For functions on networks that fill a core's cache: side by side, the seeds of a run would push each other's out of
    it. On other devices and for small networks, entries side by side are faster.
    """
    if when and jax.default_backend() == "cpu":
        return jax.custom_batching.sequential_vmap(function)
    return function
