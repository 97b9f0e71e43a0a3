"""Films of Escape Room: frames whose pixels are known, trained followers and fixed moves, the command."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqflow.env.frames import agent_colour
from iqflow.film import escape_drawing, escape_room
from iqflow.film.escape_drawing import BAR, OPEN, ROOM, SHUT, TOP, centre, place_edge
from iqflow.film.escape_room import Episodes

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "iqflow"
AGENTS = HOME / "agents" / "escape-room" / "agents_10000"
GOLD, TRACK = (201, 138, 20), (228, 228, 228)
LEVER, START, DOOR = range(3)


@pytest.fixture(scope="module")
def flat(tmp_path_factory, agents_file):
    return agents_file(tmp_path_factory.mktemp("agents"), "config_er_qflow", "qflow", "er")


# Two have to pull the lever. One does, and the other two run to a door that stays shut; then a second one does too and the
# third, at the door already, leaves; a second episode begins, in which nobody moves.
HAND = Episodes(
    names=("follower", "follower", "door"),
    min_at_lever=2,
    optimum=8.0,
    before=np.array([[START] * 3, [LEVER, DOOR, DOOR], [START] * 3]),
    actions=np.array([[LEVER, DOOR, DOOR], [LEVER, LEVER, DOOR], [START] * 3]),
    rewards=np.array([[-1.0, -1.0, -1.0], [0.0, -1.0, 10.0], [0.0, 0.0, 0.0]]),
    ends=np.array([False, True, False]),
    incentives=np.array([[2.0, 0.5, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]),
    largest=2.0,
)


def hexed(colour):
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


@pytest.mark.parametrize(("step", "moved"), [(0, False), (0, True), (1, True), (2, False), (2, True)])
def test_every_agent_stands_at_its_place_and_nowhere_else(step, moved):
    image = escape_drawing.frame(HAND, step, moved)
    there = (HAND.actions if moved else HAND.before)[step]
    for agent in range(3):  # a pixel below the number, off the trail
        spots = [(x, y + 9) for x, y in (centre(place, agent) for place in range(3))]
        assert [place for place in range(3) if image.getpixel(spots[place]) == agent_colour(agent)] == [
            there[agent]
        ]


def test_a_trail_leads_from_where_an_agent_came():
    image = escape_drawing.frame(HAND, 1, True)
    gap = place_edge(DOOR) - 5  # between two places
    assert image.getpixel((gap, centre(DOOR, 1)[1])) == agent_colour(1)  # from the door to the lever
    assert image.getpixel((gap, centre(DOOR, 2)[1])) == (255, 255, 255)  # stayed


@pytest.mark.parametrize(
    ("step", "moved", "colour"), [(0, False, ROOM), (0, True, SHUT), (1, True, OPEN), (2, True, SHUT)]
)
def test_the_door_is_shown_open_or_shut(step, moved, colour):
    image = escape_drawing.frame(HAND, step, moved)
    assert image.getpixel((place_edge(DOOR) + 4, TOP + 4)) == hexed(colour)
    assert image.getpixel((place_edge(LEVER) + 4, TOP + 4)) == hexed(ROOM)


def test_incentives_are_bars_as_long_as_what_was_paid():
    left, length = BAR
    before, after = (escape_drawing.frame(HAND, 0, moved) for moved in (False, True))
    for agent, share in enumerate((1.0, 0.25, 0.0)):
        y = centre(START, agent)[1] + 8
        golden = [after.getpixel((x, y)) == GOLD for x in range(left, left + length + 1)]
        assert sum(golden) == (round(length * share) + 1 if share else 0)
        assert {before.getpixel((x, y)) for x in range(left, left + length)} == {TRACK}


def test_episodes_and_what_they_earned():
    assert HAND.starts() == [0, 2] and HAND.complete() == [6.0]  # -3 and 9; the second episode is not over
    assert [HAND.opened(step) for step in range(3)] == [False, True, False]
    assert len(escape_drawing.frames(HAND)) == 5  # three steps and two beginnings


def test_two_pull_and_three_leave_at_once_without_a_checkpoint(tmp_path, film, capsys):
    output = tmp_path / "film.gif"
    assert film(["escape-room", "--output", str(output), "--steps", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 lever: reward -3, at the lever 3 times"
    assert said[4] == "5 door: reward +30, at the lever 0 times"
    assert said[5] == "3 whole episodes: reward together 28.0 each on average"
    with Image.open(output) as shown:
        assert shown.n_frames == 6 and shown.info["loop"] == 0


def test_the_rules_are_those_of_the_game(flat):
    """Random moves: rewards follow from where everybody stood and went, and an episode has at most five steps."""
    saved = escape_room.trained(flat)
    env, words = escape_room.chosen(None, saved)
    played = escape_room.play(env, words, saved, 3, 60)
    assert words == ("follower",) * 5 and len(set(played.actions.ravel().tolist())) == 3
    leaves = (played.actions == DOOR) & np.array([[played.opened(step)] for step in range(60)])
    expected = np.where(leaves, 10.0, np.where(played.actions == played.before, 0.0, -1.0))
    np.testing.assert_array_equal(played.rewards, expected)
    lengths = np.diff([0, *(np.flatnonzero(played.ends) + 1)])
    left = leaves.any(1)[np.flatnonzero(played.ends)]
    assert played.ends[leaves.any(1)].all() and (left | (lengths == 5)).all() and lengths.max() <= 5
    for start in played.starts():
        assert (played.before[start] == START).all()
    again = escape_room.play(env, words, saved, 3, 60)
    np.testing.assert_array_equal(again.actions, played.actions)


def test_followers_are_paid_by_their_mechanism(tmp_path, film, capsys, flat):
    command = ["escape-room", "--checkpoint", str(flat), "--output", str(tmp_path / "a.gif"), "--steps", "8"]
    assert film([*command, "--agents", "lever,follower,start,door,random"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("1 lever: ") and first[2].startswith("3 start: ")
    assert [line.split("incentives ")[1] for line in first[:5]] == ["8.0"] * 5  # sigmoid(0) x 2 = 1 a step


@pytest.mark.parametrize("words", [["--agents", ",".join(["random"] * 10)], ["--checkpoint", str(AGENTS)]])
def test_the_longest_film_stays_below_a_mebibyte(tmp_path, film, words):
    output = tmp_path / "film.gif"
    assert film(["escape-room", "--output", str(output), "--steps", "50", *words]) == 0
    assert output.stat().st_size < 2**20


@pytest.mark.parametrize(("shown", "agents"), [
    ("escape-room.gif", []), ("escape-room-random.gif", ["--agents", "follower,random,follower,follower,follower"]),
])  # fmt: skip
def test_the_films_of_the_readme_are_what_its_commands_draw(tmp_path, film, shown, agents, same_film):
    """As many frames, and the same last one."""
    output = tmp_path / "film.gif"
    assert film(["escape-room", "--checkpoint", str(AGENTS), "--output", str(output), *agents]) == 0
    same_film(output, HOME / "films" / shown)


def test_the_published_followers_leave_at_once():
    """Nearly every episode is the best one, and nobody but the two at the lever is paid."""
    saved = escape_room.trained(AGENTS)
    env, words = escape_room.chosen(None, saved)
    played = escape_room.play(env, words, saved, 1, 200)
    assert np.mean(played.complete()) > 26  # 27.5 on average
    pulls = (played.actions == LEVER).mean(axis=0) > 0.5
    assert pulls.sum() == 2 and (played.incentives[:, pulls].mean(axis=0) > 1.5).all()
    assert (played.incentives[:, ~pulls].mean(axis=0) < 0.5).all()


@pytest.mark.parametrize(("words", "named"), [
    (["--agents", "lever,A2"], "no agent 'A2'"),
    (["--agents", "follower,door"], "needs --checkpoint"),
    (["--agents", "door"], "it has to be 2 to 10"),
    (["--map", "cleanup_other"], "Escape Room has none"),
    (["--fps", "0"], "--fps 0"),
    (["--steps", "51"], "--steps 51; it has to be 1 to 50"),
    (["--checkpoint", "nowhere"], "no checkpoint at nowhere"),
])  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, film, capsys, words, named):
    output = tmp_path / "film.gif"
    assert film(["escape-room", "--output", str(output), *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and named in said and not output.exists()


def test_other_agents_and_too_few_are_refused(tmp_path, film, capsys, flat, agents_file):
    output = ["--output", str(tmp_path / "a.gif")]
    other = agents_file(tmp_path, "config_img_qflow", "qflow", "ipd")
    assert film(["escape-room", "--checkpoint", str(other), *output]) == 2
    assert "trained in ipd; a film of escape-room needs agents of --exp er" in capsys.readouterr().err
    assert film(["escape-room", "--checkpoint", str(flat), "--agents", "door", *output]) == 2
    assert "names 1; this game has 5" in capsys.readouterr().err
    assert film(["cleanup", "--checkpoint", str(flat), *output]) == 2
    assert "a film of cleanup needs agents of --exp ssd" in capsys.readouterr().err
