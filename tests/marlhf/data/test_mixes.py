"""Mixes: names, numbers, where files are looked for, and what is said when they are not there."""

from types import SimpleNamespace

import numpy as np
import pytest

from common.cli import UserError
from marlhf.data.files import Rows, save_rows
from marlhf.data.mixes import (
    MIXES,
    Mix,
    Named,
    folder_names,
    load_mix,
    mix_files,
    parse_mix,
    policy_of_rows,
    task_folder,
)

SPREAD = SimpleNamespace(name="spread", id="MPE_simple_spread_v3", n_agents=3, obs_size=4, state_size=5)
SPREAD5 = SimpleNamespace(name="spread", id="MPE_simple_spread_v3", n_agents=5)
TAG = SimpleNamespace(name="tag", id="MPE_simple_tag_v3", n_agents=3)
OVERCOOKED = SimpleNamespace(name="overcooked", id="overcooked", n_agents=2)


def write(folder, value, task=SPREAD.id):
    steps, n, envs = 2, 3, 2
    rows = Rows(
        np.full((steps, n, envs, 7), value, np.float32), np.zeros((steps, envs, 5), np.float32),
        np.zeros((steps, n, envs), np.int32), np.zeros((steps, n, envs), np.float32),
        np.zeros((steps, envs), np.float32), np.zeros((steps, envs), bool),
        *(np.zeros((steps, envs, n), kind) for kind in (np.float32, np.float32, bool)),
    )  # fmt: skip
    count = len(list(folder.glob("*.npz"))) if folder.is_dir() else 0
    save_rows(folder / f"traj_batch_{count}.npz", rows, {"agents": ["a", "b", "c"], "task": task})


@pytest.fixture
def data(tmp_path):
    """Two expert files, one of rookie1 under its published number, one unilateral one."""
    home = tmp_path / SPREAD.id
    for value in (1, 2):
        write(home / "vdnexpert", value)
    write(home / "vdn198", 3)
    write(home / "vdnexpert|rookie1unilateral", 4)
    return tmp_path


def test_the_named_mixes_are_the_published_ones():
    assert all(mix.files == 60 for mix in MIXES.values())
    assert str(MIXES["diversified"]) == "15|6|6|3|15_15|0|0"
    assert parse_mix("mix-expert") == Mix((45, 0, 0, 0, 15), (0, 0, 0))
    for name, third in (
        ("diversified", "5|2|2|1|5+5|0|0"),
        ("mix-unilateral", "10|0|0|0|5+5|0|0"),
        ("mix-expert", "15|0|0|0|5"),
        ("pure-expert", "20|0|0|0|0"),
    ):
        assert parse_mix(f"{name}/3") == parse_mix(third)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diversifed", "unknown mix 'diversifed'; there are diversified, "),
        ("diversified/7", "can't be divided by '7'"),
        ("diversified/0", "can't be divided by '0'"),
        ("1|2|3", "has to be 5 whole numbers"),
        ("1|0|0|0|-1", "has to be 5 whole numbers"),
        ("1|0|0|0|0+1", "has to be 3 whole numbers"),
        ("0|0|0|0|0", "one of them is above 0"),
        ("", "unknown mix"),
    ],
)
def test_what_is_no_mix(text, message):
    with pytest.raises(UserError) as error:
        parse_mix(text)
    assert message in str(error.value)


def test_a_mix_takes_files_in_order(data):
    mix = parse_mix("2|1|0|0|0+1|0|0")
    files = mix_files(SPREAD, mix, data)
    assert [label for label, _ in files] == ["expert", "expert", "rookie1", "expert|rookie1"]
    rows = load_mix(SPREAD, mix, data)
    assert rows.obs[0, 0, :, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert policy_of_rows(files, 8).tolist() == ["expert"] * 4 + ["rookie1"] * 2 + ["expert|rookie1"] * 2


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (
            "3|0|0|0|0",
            "asks for 3 files of expert, .*vdnexpert holds 2; .*spread bash scripts/collect_vdn.sh",
        ),
        ("1|0|1|0|0", "asks for 1 files of rookie2, .*vdnrookie2 holds 0"),
        ("0|0|0|0|0+2|0|0", "asks for 2 files of expert.rookie1, .*collect_vdn_unilateral.sh makes them"),
        ("1|0|0|0|0+0|0|1", "a deviator number 3; MPE_simple_spread_v3 has rookie1, rookie2"),
    ],
)
def test_more_files_than_there_are(data, mix, message):
    with pytest.raises(UserError, match=message):
        load_mix(SPREAD, parse_mix(mix), data)


def test_files_of_another_task_are_refused(data):
    other = SimpleNamespace(**{**vars(SPREAD), "obs_size": 9})
    with pytest.raises(UserError, match="observations of size 7"):
        load_mix(other, parse_mix("1|0|0|0|0"), data)


def test_names_of_folders(tmp_path):
    assert folder_names(SPREAD, "trivial") == ["vdntrivial", "vdn387"]
    assert folder_names(SPREAD, "expert", "rookie1") == [
        "vdnexpert|rookie1unilateral",
        "vdn149|198unilateral",
    ]
    assert folder_names(SPREAD, "expert", "rookie2", "each")[0] == "vdnexpert|rookie2unilateral_each"
    assert folder_names(SPREAD5, "expert", "rookie2")[1] == "vdn99|153unilateral"
    assert folder_names(TAG, "expert", "deviator1")[1] == "vdn621|480unilateral"
    assert folder_names(OVERCOOKED, "trivial")[0] == "ippotrivial"
    assert task_folder(tmp_path, SPREAD) == tmp_path / "MPE_simple_spread_v3"
    assert task_folder(tmp_path, SPREAD5) == tmp_path / "MPE_simple_spread_v3" / "na5"


def test_folders_can_be_named_one_by_one(data, tmp_path):
    home = data / SPREAD.id
    for number, name in enumerate(("one", "two")):
        write(tmp_path / "elsewhere" / name, 7 + number)
    one, two = (str(tmp_path / "elsewhere" / name) for name in ("one", "two"))
    mix = Mix((2, 1, 0, 0, 0), (1, 0, 0))
    with pytest.raises(UserError, match="holds 1"):
        mix_files(SPREAD, mix, data, named=Named((one, two, "", "", "")))
    mix = Mix((1, 1, 0, 0, 0), (1, 0, 0))
    found = [
        str(path.parent) for _, path in mix_files(SPREAD, mix, data, named=Named((one, two, "", "", "")))
    ]
    assert found == [one, two, str(home / "vdnexpert|rookie1unilateral")]
    rows = load_mix(SPREAD, mix, data, named=Named(single=(two, "", "")))
    assert rows.obs[0, 0, :, 0].tolist() == [1, 1, 3, 3, 8, 8]
