"""Iterate a recorded step on many lanes at once, each until it comes to rest by its own measure.

A lane that has come to rest is frozen exactly: its further steps are multiplied by zero. Together with lane-last
arrays whose length is a multiple of the widest vector register (so that no lane is ever in the scalar tail of a
loop), a lane's result is bit for bit the same whichever lanes run beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pola.exact.tracing import Traced

BLOCK = 64  # lanes come in blocks of four AVX-512 registers of float32
_CHECK_EVERY = 4  # iterations between looks at which lanes still move; changes the time, never a result

Step = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]


def width(lanes: int) -> int:
    """The smallest multiple of `BLOCK` that holds so many lanes."""
    return -(-lanes // BLOCK) * BLOCK


def pad(tensor: Tensor) -> Tensor:
    """Repeat the first lane until the last axis is a multiple of `BLOCK` long."""
    missing = width(tensor.shape[-1]) - tensor.shape[-1]
    return torch.cat([tensor, tensor[..., :1].expand(*tensor.shape[:-1], missing)], -1).contiguous()


class Loop:
    """A step function with its recordings, one for each number of lanes.

    Args:
        step: ``step([active, count, *state], fixed)`` gives the same list one iteration later. `active` ``[L]`` is 1.0
            for lanes that still move; the step multiplies its change by it and clears it where a lane comes to rest.
            `count` ``[L]`` counts iterations. Everything has the lanes on its last axis.
    """

    def __init__(self, step: Step):
        self._step = step
        self._recordings: dict[int, Traced] = {}

    def recording(self, varying: Sequence[Tensor], fixed: Sequence[Tensor]) -> Traced:
        """The recording for so many lanes, made when it is first asked for."""
        lanes = varying[0].shape[-1]
        if lanes not in self._recordings:
            self._recordings[lanes] = Traced(self._step, varying, fixed)
        return self._recordings[lanes]

    def run(
        self,
        state: Sequence[Tensor],
        fixed: Sequence[Tensor],
        max_iterations: int,
        *,
        active: Tensor | None = None,
        watch: Callable[[Sequence[Tensor]], None] | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """Iterate until every lane rests or `max_iterations` are done.

        Args:
            state: tensors ``[..., N]``, lanes not padded.
            fixed: what the step reads but does not change, ``[..., N]``.
            active: ``[N]``, 0.0 for lanes that shall not move at all; default all ones.
            watch: called with the padded state after every iteration.

        Returns:
            The state, and the number of iterations of each lane ``[N]``.
        """
        lanes = state[0].shape[-1]
        whole = [pad(t) for t in state]
        resting = state[0].new_zeros(width(lanes))
        resting[:lanes] = 1.0 if active is None else active
        count = torch.zeros_like(resting)
        place = torch.arange(width(lanes), device=state[0].device)  # where each remaining lane belongs
        current, given = [resting, count, *whole], [pad(t) for t in fixed]
        done, settled = 0, [count.clone(), *whole]
        with torch.inference_mode():
            replay = self.recording(current, given).bind(given)
            while done < max_iterations:
                for _ in range(min(_CHECK_EVERY, max_iterations - done)):
                    current = list(replay(*current))
                    done += 1
                    if watch is not None:
                        watch(current[2:])
                moving = int(current[0].sum())
                if moving == 0:
                    break
                if watch is None and 2 * width(moving) <= current[0].shape[-1]:
                    settled = _put_back(settled, place, current[1:])
                    kept = current[0].nonzero()[:, 0]
                    place = place[kept]
                    current, given = [pad(t[..., kept]) for t in current], [pad(t[..., kept]) for t in given]
                    current[0][len(kept) :] = 0.0
                    replay = self.recording(current, given).bind(given)
            count, *final = _put_back(settled, place, current[1:])
        return [t[..., :lanes].clone() for t in final], count[:lanes].clone()


def _put_back(settled: list[Tensor], place: Tensor, current: Sequence[Tensor]) -> list[Tensor]:
    """The full-width tensors with the remaining lanes' latest values; `current` may end in padding."""
    updated = [full.clone() for full in settled]
    for full, part in zip(updated, current, strict=True):
        full[..., place] = part[..., : len(place)]
    return updated
