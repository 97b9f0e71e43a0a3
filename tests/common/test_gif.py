"""Frames as a GIF."""

import numpy as np
import pytest
from PIL import Image

from common import gif


def squares(count, size=(30, 20)):
    """A red square that grows brighter on white."""
    frames = [Image.new("RGB", size, "white") for _ in range(count)]
    for number, frame in enumerate(frames):
        frame.paste((40 * number + 50, 0, 0), (5, 5, 15, 15))
    return frames


@pytest.mark.parametrize(("fps", "beat"), [(4, 250), (1000, 20)])
def test_every_frame_its_time_and_the_same_bytes_again(tmp_path, fps, beat):
    frames, path = squares(5), tmp_path / "new" / "film.gif"
    size = gif.save(frames, path, fps)
    content = path.read_bytes()
    assert len(content) == size and gif.encode(frames, fps) == content
    with Image.open(path) as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (5, (30, 20), 0)
        for number, frame in enumerate(frames):
            film.seek(number)
            assert film.info["duration"] == beat + (2000 if number == 4 else 0)
            np.testing.assert_allclose(np.asarray(film.convert("RGB"), int), np.asarray(frame, int), atol=3)


def test_no_more_colours_than_asked_for(tmp_path):
    gradient = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    found = {}
    for most in (4, 200):
        gif.save([gradient], tmp_path / "film.gif", 1, colours=most)
        with Image.open(tmp_path / "film.gif") as film:
            found[most] = len(film.convert("RGB").getcolors())
    assert 1 < found[4] <= 4 < found[200] <= 200
