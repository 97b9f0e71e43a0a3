"""Frames as a GIF. NumPy and Pillow, which comes with Matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.checkpoints import write_atomically

HOLD = 2.0  # seconds that the last frame stays


def encode(frames: Sequence[Image.Image], fps: float, colours: int = 64) -> bytes:
    """RGB frames of one size as a GIF that repeats; the same frames give the same bytes."""
    some = frames[:: max(1, len(frames) // 8)]
    sheet = Image.fromarray(np.concatenate([np.asarray(one) for one in some]))
    palette = sheet.quantize(colours)  # one for all frames keeps what does not change out of the file
    pictures = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in frames]
    durations = [max(20, round(1000 / fps))] * len(pictures)  # viewers slow frames below 20 ms down
    durations[-1] += round(1000 * HOLD)
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, disposal=1
    )
    return buffer.getvalue()


def save(frames: Sequence[Image.Image], path: Path, fps: float, colours: int = 64) -> int:
    """Write the film; returns its size in bytes."""
    content = encode(frames, fps, colours)
    write_atomically(path, content)
    return len(content)
