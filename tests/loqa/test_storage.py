"""States and agents on the disk."""

from typing import NamedTuple

import numpy as np
import pytest

from common.cli import UserError
from loqa import storage


class State(NamedTuple):
    params: dict
    count: np.ndarray


STATE = State({"head": {"kernel": np.ones((2, 3), np.float32)}}, np.array(4, np.int32))


def test_a_state_survives_the_way_through_named_arrays():
    arrays = storage.to_arrays(STATE)
    assert set(arrays) == {"params/head/kernel", "count"}
    again = storage.from_arrays(STATE, arrays, "it")
    assert int(again.count) == 4 and np.array_equal(again.params["head"]["kernel"], np.ones((2, 3)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": None}, "it does not fit this command: it lacks count"),
        ({"more": np.zeros(1)}, "it does not fit this command: it has more, which nothing reads"),
        ({"count": np.array(4.0)}, "count is float64[] there and int32[] here"),
        ({"params/head/kernel": np.ones((3, 3), np.float32)}, "float32[3, 3] there and float32[2, 3] here"),
    ],
)
def test_a_state_of_another_shape_is_refused(change, says):
    arrays = {k: v for k, v in (storage.to_arrays(STATE) | change).items() if v is not None}
    with pytest.raises(UserError) as caught:
        storage.from_arrays(STATE, arrays, "it")
    assert says in str(caught.value)


AGENTS = {"agent0": {"params": STATE.params}, "agent1": {"params": {"head": {"kernel": np.zeros((2, 3))}}}}


def test_agents_survive_the_way_through_a_file(tmp_path):
    path = tmp_path / "minimal_state_3"
    storage.save_agents(path, AGENTS, 3, {"seed": 42})
    found, meta = storage.load_agents(path)
    assert meta == {"format": storage.FORMAT, "iteration": 3, "hp": {"seed": 42}}
    assert np.array_equal(found["agent0"]["params"]["head"]["kernel"], np.ones((2, 3)))
    assert found["agent1"]["params"]["head"]["kernel"].shape == (2, 3)


def test_a_tampered_absent_or_foreign_file_is_one_line(tmp_path):
    path = tmp_path / "minimal_state_3"
    with pytest.raises(UserError, match="no checkpoint at"):
        storage.load_agents(path)
    storage.save_agents(path, AGENTS, 3, {})
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        storage.load_agents(path)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="is not a checkpoint of this project"):
        storage.load_agents(path)
    storage.checkpoints.save(path, {}, {"format": "another"})
    with pytest.raises(UserError, match="is not a file of LOQA agents"):
        storage.load_agents(path)
