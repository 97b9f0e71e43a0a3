"""Films of Cleanup: frames whose pixels are known, the GIF, trained and scripted agents, the command."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqflow.env.cleanup.drawing import COLOURS
from iqflow.film import drawing
from iqflow.film.drawing import BAR, LINE, TOP
from iqflow.film.episode import Episode

ROOT = Path(__file__).resolve().parents[2]
GOLD, TRACK = (201, 138, 20), (228, 228, 228)


@pytest.fixture(scope="module")
def flat(tmp_path_factory, agents_file):
    return agents_file(tmp_path_factory.mktemp("agents"), "config_ssd_qflow", "qflow", "ssd")


def scene(*rows):
    return [[int(letter) for letter in row] for row in rows]


# A corridor: agent 0 (code 7) walks right and eats the apple (2); agent 1 (code 8) stands beside the waste (3).
HAND = Episode(
    names=("follower", "A2"),
    scenes=np.array(
        [scene("11111", "17281", "13001", "11111"), scene("11111", "10781", "14661", "11111")], np.uint8
    ),
    positions=np.array([[[1, 1], [1, 3]], [[1, 2], [1, 3]]]),
    rewards=np.array([[1.0, 0.0]]),
    cleaned=np.array([[0, 1]]),
    incentives=np.array([[0.5, 2.0]]),
    largest=2.0,
)


@pytest.mark.parametrize("step", [0, 1])
def test_the_board_has_the_colours_of_the_game(step):
    image, (left, top) = drawing.frame(HAND, step), drawing.board_corner(HAND)
    size = drawing.cell_size(HAND)
    for row in range(4):
        for column in range(5):
            corner = image.getpixel((left + column * size + 1, top + row * size + 1))
            assert corner == tuple(COLOURS[HAND.scenes[step, row, column]])


def test_incentives_are_bars_as_long_as_what_was_paid():
    left, length = BAR
    before, after = drawing.frame(HAND, 0), drawing.frame(HAND, 1)
    for agent, share in enumerate((0.25, 1.0)):
        y = TOP + LINE * agent + LINE // 2 + 6
        golden = [after.getpixel((x, y)) == GOLD for x in range(left, left + length + 1)]
        assert sum(golden) == length * share + 1 and golden[0]
        assert {before.getpixel((x, y)) for x in range(left, left + length)} == {TRACK}


def test_a_scripted_film_needs_no_checkpoint(tmp_path, film, capsys):
    output = tmp_path / "film.gif"
    assert film(["cleanup", "--output", str(output), "--steps", "50", "--seed", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("1 cleaner: reward +0, cleaned ") and "incentives" not in said[0]
    assert float(said[1].split()[3].rstrip(",")) > 30  # 39 on average
    with Image.open(output) as shown:
        assert shown.n_frames == 51
    assert output.stat().st_size < 2**20


def test_followers_are_paid_by_their_mechanism(tmp_path, film, capsys, flat):
    output = tmp_path / "film.gif"
    command = ["cleanup", "--checkpoint", str(flat), "--output", str(output), "--steps", "8"]
    assert film(command) == 0
    first = capsys.readouterr().out.splitlines()
    assert [line.split("incentives ")[1] for line in first[:2]] == ["8.0", "8.0"]  # sigmoid(0) x 2 = 1 a step
    assert film([*command, "--agents", "A2,follower"]) == 0
    assert capsys.readouterr().out.startswith("1 A2: ")


def test_the_film_of_the_readme_is_what_its_command_draws(tmp_path, film, same_film):
    """As many frames, and the same last one, which shows where both ended and all that they earned."""
    home = Path(__file__).resolve().parents[2] / "iqflow"
    agents, output = home / "agents" / "cleanup" / "agents_1000", tmp_path / "film.gif"
    assert film(["cleanup", "--checkpoint", str(agents), "--output", str(output)]) == 0
    same_film(output, home / "films" / "cleanup.gif")


@pytest.mark.parametrize(("words", "named"), [
    (["--agents", "A2,A9"], "no agent 'A9'"),
    (["--agents", "follower,A2"], "needs --checkpoint"),
    (["--map", "moon"], "unknown map 'moon'"),
    (["--steps", "0"], "--steps 0"),
    (["--fps", "nan"], "--fps nan"),
    (["--seed", "-1"], "--seed -1"),
    (["--checkpoint", "nowhere"], "no checkpoint at nowhere"),
    (["--checkpoint", "nowhere", "--map", "cleanup_other"], "--map is for films without"),
    (["--checkpoints", "x"], "did you mean --checkpoint?"),
])  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, film, capsys, words, named):
    output = tmp_path / "film.gif"
    try:
        code = film(["cleanup", "--output", str(output), *words])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1 and named in said and not output.exists()


@pytest.mark.parametrize(("config", "alg", "exp", "named"), [
    ("config_img_qflow", "qflow", "ipd", "trained in ipd; a film of cleanup needs agents of --exp ssd"),
    ("config_ssd_pg", "pg", "ssd", "has no mechanism"),
])  # fmt: skip
def test_other_agents_are_refused(tmp_path, film, capsys, agents_file, config, alg, exp, named):
    path = agents_file(tmp_path, config, alg, exp)
    assert film(["cleanup", "--checkpoint", str(path), "--output", str(tmp_path / "a.gif")]) == 2
    assert named in capsys.readouterr().err
