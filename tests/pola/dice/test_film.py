"""Films of the Coin Game: frames whose pixels are known, the GIF, trained and scripted players, the command."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import checkpoints, gif
from pola.dice import storage, training
from pola.dice.config import parse
from pola.film import drawing, episode
from pola.film.drawing import CELL, LEFT, TOP, Episode, centre, trail

HOME = Path(__file__).resolve().parents[3] / "pola"
AGENTS = HOME / "agents" / "coin" / "agents_seed1_epoch10"
RED, BLUE, GOLD, WHITE = (194, 65, 59), (0, 68, 136), (201, 138, 20), (255, 255, 255)
RIGHTWARD, LEFTWARD, DOWN, UP = range(4)


def small_agents(folder, *flags):
    """What a run of tiny agents saves before its first epoch."""
    words = ["--env", "coin", "--hidden_size", "3", "--layers_before_gru", "1", "--rollout_len", "5"]
    config = parse([*words, *flags, "--save_dir", str(folder)])
    state = training.initial_state(config, training.make_game(config), 1)
    return storage.save(config, 1, 0, state, [])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_agents(tmp_path_factory.mktemp("agents"))


# Red goes left over the edge and takes its own coin there, then down onto blue's; blue goes down and up again.
HAND = Episode(
    names=("first", "second"),
    players=np.array([[[0, 0], [1, 1]], [[0, 2], [2, 1]], [[1, 2], [1, 1]]]),
    coin=np.array([[0, 2], [1, 2], [0, 0]]),
    owner=np.array([0, 1, 0]),
    actions=np.array([[LEFTWARD, DOWN], [DOWN, UP]]),
    rewards=np.array([[1.0, 0.0], [1.0, -2.0]]),
)
CELLS = [(row, column) for row in range(3) for column in range(3)]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_every_player_stands_in_its_cell_and_nowhere_else(step):
    image = drawing.frame(HAND, step)
    for player, (colour, side) in enumerate(((RED, -11), (BLUE, 11))):
        corners = {cell: [round(part) + side for part in centre(cell, player)] for cell in CELLS}
        found = [cell for cell in CELLS if image.getpixel(tuple(corners[cell])) == colour]
        assert found == [tuple(HAND.players[step, player])]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_coin_has_its_owners_colour(step):
    image = drawing.frame(HAND, step)
    for cell in CELLS:
        x, y = (round(part) for part in centre(cell))
        inside, rim = image.getpixel((x - 13, y)), image.getpixel((x - 19, y))
        if cell == tuple(HAND.coin[step]):
            assert inside == (RED, BLUE)[HAND.owner[step]] and rim == GOLD
        else:
            assert rim != GOLD


def test_a_move_over_the_edge_leaves_here_and_arrives_there():
    leaving, arriving = trail(*HAND.players[:2, 0], LEFTWARD, 0)
    x, y = LEFT + 0.32 * CELL, TOP + 0.32 * CELL
    assert leaving == pytest.approx((x, y, LEFT - 18, y))  # stops 18 pixels outside of the board
    assert arriving == pytest.approx((LEFT + 3 * CELL + 18, y, x + 2 * CELL, y))
    image = drawing.frame(HAND, 1)
    tint = tuple(255 - (255 - part) * 2 // 5 for part in RED)
    assert image.getpixel((LEFT - 10, round(y))) == tint
    assert image.getpixel((LEFT + 3 * CELL + 10, round(y))) == tint
    assert image.getpixel((LEFT - 10, round(y) + CELL)) == WHITE  # blue moved down inside the board


def test_a_taken_coin_is_outlined_in_the_takers_colour():
    for step, (row, column) in ((1, (0, 2)), (2, (1, 2))):
        image = drawing.frame(HAND, step)
        assert image.getpixel((LEFT + column * CELL + 3, TOP + row * CELL + 60)) == RED


def test_returns_counts_and_events():
    assert [HAND.event(step) for step in (1, 2)] == [
        "red took red's coin: red +1, blue +0",
        "red took blue's coin: red +1, blue -2",
    ]
    assert [HAND.taken(2, player) for player in (0, 1)] == [(1, 1), (0, 0)]
    idle = Episode(
        ("a", "b"), HAND.players[:2] * 0, HAND.coin[:2], HAND.owner, HAND.actions[:1], HAND.rewards[:1]
    )
    assert idle.event(1) == ""


def test_the_gif_has_every_frame(tmp_path):
    gif.save(drawing.frames(HAND), tmp_path / "film.gif", fps=4)
    with Image.open(tmp_path / "film.gif") as shown:
        assert shown.n_frames == 3
        for step in range(3):
            shown.seek(step)
            drawn, exact = (np.asarray(one, int) for one in (shown.convert("RGB"), drawing.frame(HAND, step)))
            assert np.mean(np.abs(drawn - exact).max(-1) > 40) < 0.01  # 64 colours


@pytest.mark.parametrize("kind", ["self", "always-defect", "always-cooperate", "tit-for-tat", "random"])
def test_rewards_are_those_of_the_game(small, kind):
    agents = episode.load(small)
    played = episode.play(agents, episode.opponent(kind, agents, small), 3, 60)
    takes, own = played.takes(), played.owner[:-1, None] == np.arange(2)
    np.testing.assert_array_equal(played.rewards, takes - 2.0 * (own & takes[:, ::-1]))
    moved = (played.players[:-1] + drawing.MOVES[played.actions]) % 3
    np.testing.assert_array_equal(played.players[1:], moved)
    if kind == "always-cooperate":
        assert played.taken(60, 1)[1] == 0 and played.taken(60, 1)[0] > 0
    if kind == "always-defect":
        assert played.taken(60, 1)[1] > 0


def test_the_published_agents_play_as_the_readme_says():
    """They take somewhat more of their own coins, and a player that takes every coin is ahead of them."""
    agents = episode.load(AGENTS)
    assert agents.name == "POLA-DiCE, epoch 10" and agents.steps == 20
    own, others = np.zeros(2), np.zeros(2)
    for seed in range(3):
        played = episode.play(agents, agents, seed, 200)
        taken = np.array([played.taken(200, player) for player in (0, 1)])
        own, others = own + taken[:, 0], others + taken[:, 1]
    assert 0.5 < own.sum() / (own + others).sum() < 0.7  # .592
    exploited = episode.play(agents, "always-defect", 0, 200)
    assert exploited.rewards[:, 0].mean() < -0.1 < exploited.rewards[:, 1].mean()  # red -.30


def test_the_same_seed_is_the_same_episode(small):
    agents = episode.load(small)
    one, again, other = (episode.play(agents, "random", seed, 20) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.players, again.players)
    assert not np.array_equal(one.players, other.players)


def test_the_longest_film_stays_below_a_mebibyte(small, tmp_path, film, capsys):
    words = ["coin", "--checkpoint", str(small), "--output", str(tmp_path / "film.gif"), "--steps", "200"]
    assert film([*words, "--opponent", "always-defect"]) == 0
    assert (tmp_path / "film.gif").stat().st_size < 2**20
    assert "blue always-defect: return" in capsys.readouterr().out


def test_an_episode_is_as_long_as_in_training(small, tmp_path, film):
    assert film(["coin", "--checkpoint", str(small), "--output", str(tmp_path / "film.gif")]) == 0
    with Image.open(tmp_path / "film.gif") as shown:
        assert shown.n_frames == 6


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["--opponent", "nobody"],
            "neither self, always-defect, always-cooperate, tit-for-tat, random nor a file",
        ),
        (["--steps", "201"], "1 to 200"),
        (["--fps", "nan"], "0.2 to 50"),
        (["--seed", "-1"], "0 to 4294967295"),
        (["--output", "film.mp4"], "end in .gif"),
        (["--checkpoint", "absent"], "no checkpoint at absent"),
        (["--checkpoint", "cut"], "damaged"),
        (["--checkpoint", "ipd"], "was trained with --env ipd"),
        (["--checkpoint", "state"], "does not hold agents"),
        (["--checkpoint", "sizes"], "does not fit"),
        (["--opponent", "dearer"], "with other rewards"),
    ],
)
def test_bad_input_is_answered_in_one_line(words, reason, small, tmp_path, film, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").write_bytes(small.read_bytes())
    (tmp_path / "cut").write_bytes(small.read_bytes()[:-20])
    arrays, meta = checkpoints.load(small)
    checkpoints.save(tmp_path / "state", arrays, {"step": 3})
    checkpoints.save(tmp_path / "ipd", arrays, meta | {"config": meta["config"] | {"env": "ipd"}})
    checkpoints.save(tmp_path / "sizes", arrays, meta | {"config": meta["config"] | {"hidden_size": 4}})
    checkpoints.save(
        tmp_path / "dearer", arrays, meta | {"config": meta["config"] | {"diff_coin_cost": -4.0}}
    )
    given = {"--checkpoint": "good", "--output": "film.gif"} | dict(zip(words[::2], words[1::2], strict=True))
    assert film(["coin", *(word for pair in given.items() for word in pair)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("film.py: ") and reason in error and error.count("\n") == 1
    assert not list(tmp_path.glob("film*"))


@pytest.mark.parametrize("words", [["ipd"], ["coin"], ["coin", "--check", "x"]])
def test_wrong_flags(words, film, capsys):
    with pytest.raises(SystemExit) as stop:
        film(words)
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_the_film_of_the_readme_is_what_its_command_draws(film, tmp_path, same_film):
    """As many frames, and the same last one, which shows where both ended and every coin taken."""
    assert film(["coin", "--checkpoint", str(AGENTS), "--output", str(tmp_path / "a.gif")]) == 0
    same_film(tmp_path / "a.gif", HOME / "films" / "coin.gif")
