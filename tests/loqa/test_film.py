"""Films: frames whose pixels are known, the GIF, and the command."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from common import checkpoints, gif
from loqa import storage
from loqa.coin import agents
from loqa.film import drawing, episode
from loqa.film.drawing import Episode, Layout

ROOT = Path(__file__).resolve().parents[2]
BLUE, RED, GOLD, WHITE = (0, 68, 136), (194, 65, 59), (201, 138, 20), (255, 255, 255)
LEFT, RIGHT, UP, DOWN = range(4)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The recorded agent of the paper (3 x 3) as an agent file."""
    arrays = dict(np.load(Path(__file__).parent / "golden" / "trained_loqa_2i4vsulp.npz"))
    hp = json.loads((Path(__file__).parent / "golden" / "trained_loqa_2i4vsulp.json").read_text("utf-8"))
    path = tmp_path_factory.mktemp("agents") / "minimal_state_6000"
    storage.save_agents(path, {"agent0": {"params": checkpoints.nested(arrays)}}, 6000, hp)
    return path


def hp_of(height, width, hidden=4):
    head = {"hidden_size": hidden, "layers_before_gru": 1}
    return {"game": {"height": height, "width": width, "game_length": 5}, "actor": head, "qvalue": head}


def small_agents(path, height, width, hp=None):
    sizes = agents.Architecture(4 * height * width, 4, 1, 4, 1)
    tree = {"agent0": {"params": agents.init(sizes, jax.random.PRNGKey(0))}}
    storage.save_agents(path, tree, 7, hp or hp_of(height, width))
    return path


# A 2 x 3 board, two steps. A goes left over the edge and takes its own coin there, then down; B goes down, then up onto
# its own place, where A's next ... coin is B's.
HAND = Episode(
    height=2,
    width=3,
    names=("first", "second"),
    players=np.array([[0, 4], [2, 1], [5, 4]]),
    coin=np.array([2, 4, 3]),
    owner=np.array([0, 1, 0]),
    actions=np.array([[LEFT, UP], [DOWN, DOWN]]),
    rewards=np.array([[1.0, 0.0], [0.0, 1.0]]),
)


def corner(cell, player):
    """A pixel of a player's square, beside its letter, on the 2 x 3 board: cells of 90, board from (50, 98)."""
    row, column = divmod(cell, 3)
    shift, side = (0.32, -11) if player == 0 else (0.68, 11)
    return round(50 + (column + shift) * 90 + side), round(98 + (row + shift) * 90 + side)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_every_player_stands_in_its_cell_and_nowhere_else(step):
    image = drawing.frame(HAND, step)
    for player, colour in enumerate((BLUE, RED)):
        found = [cell for cell in range(6) if image.getpixel(corner(cell, player)) == colour]
        assert found == [HAND.players[step, player]]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_coin_has_its_owners_colour(step):
    image = drawing.frame(HAND, step)
    for cell in range(6):
        row, column = divmod(cell, 3)
        middle = round(50 + (column + 0.5) * 90), round(98 + (row + 0.5) * 90)
        inside, rim = image.getpixel((middle[0] - 13, middle[1])), image.getpixel((middle[0] - 19, middle[1]))
        if cell == HAND.coin[step]:
            assert inside == (BLUE, RED)[HAND.owner[step]] and rim == GOLD
        else:
            assert rim != GOLD


def test_a_move_over_the_edge_leaves_here_and_arrives_there():
    layout = Layout(2, 3)
    assert layout.cell == 90 and layout.board == (50, 98, 320, 278)
    leaving, arriving = layout.trail(0, 2, LEFT, 0)
    assert leaving == pytest.approx((78.8, 126.8, 32, 126.8))  # stops 18 pixels outside of the board
    assert arriving == pytest.approx((338, 126.8, 258.8, 126.8))
    image = drawing.frame(HAND, 1)
    trail = (153, 181, 208)
    assert image.getpixel((40, 127)) == trail and image.getpixel((330, 127)) == trail
    assert image.getpixel((40, 217)) == WHITE  # B moved down inside the board


def test_a_taken_coin_is_outlined_in_the_takers_colour():
    first, second = drawing.frame(HAND, 1), drawing.frame(HAND, 2)
    assert first.getpixel((50 + 2 * 90 + 3, 98 + 60)) == BLUE  # cell 2, taken by A
    assert second.getpixel((50 + 90 + 8, 98 + 90 + 60)) == RED  # cell 4, taken by B


def test_returns_counts_and_events():
    assert [HAND.event(step) for step in range(3)] == [
        "",
        "A took A's coin: A +1, B +0",
        "B took B's coin: A +0, B +1",
    ]
    assert [HAND.taken(2, player) for player in (0, 1)] == [(1, 0), (1, 0)]
    both = Episode(
        1, 4, ("a", "b"), np.array([[0, 2], [1, 1]]), np.array([1, 3]), np.array([1, 0]), np.array([[1, 0]]),
        np.array([[1.0, -1.0]]),
    )  # fmt: skip
    assert both.event(1) == "A and B took B's coin: A +1, B -1"
    assert both.taken(1, 0) == (0, 1) and both.taken(1, 1) == (1, 0)


def test_the_gif_has_every_frame(tmp_path):
    gif.save(drawing.frames(HAND), tmp_path / "film.gif", fps=4)
    with Image.open(tmp_path / "film.gif") as shown:
        assert shown.n_frames == 3
        for step in range(3):
            shown.seek(step)
            drawn = np.asarray(shown.convert("RGB"), int)
            exact = np.asarray(drawing.frame(HAND, step), int)
            assert np.mean(np.abs(drawn - exact).max(-1) > 40) < 0.01  # 64 colours


def test_the_published_agent_plays_as_it_is_known_to(published):
    agent = episode.load(published)
    totals = {}
    for kind in (*episode.SCRIPTED, "self"):
        played = episode.play(agent, episode.opponent(kind, agent, published), 3, 100)
        totals[kind] = played.rewards.mean(axis=0)
        takes = np.array([played.takes(step) for step in range(1, 101)])
        own = played.owner[:-1, None] == np.arange(2)
        expected = takes - 2.0 * (own & takes[:, ::-1])
        np.testing.assert_array_equal(played.rewards, expected)
    assert (
        totals["always-cooperate"][0] > 0.25 and totals["self"].mean() > 0.25
    )  # 0.349, 0.325 over 256 games
    assert -0.25 < totals["always-defect"][0] < 0.1 < totals["always-cooperate"][1]  # -0.059


def test_the_same_seed_is_the_same_episode(published):
    agent = episode.load(published)
    one, again, other = (episode.play(agent, "random", seed, 20) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.players, again.players)
    assert not np.array_equal(one.players, other.players)


def test_the_longest_film_stays_below_a_mebibyte(published, tmp_path, film, capsys):
    words = ["coin", "--checkpoint", str(published), "--output", str(tmp_path / "film.gif"), "--steps", "200"]
    assert film([*words, "--opponent", "always-defect"]) == 0
    assert (tmp_path / "film.gif").stat().st_size < 2**20
    assert "B always-defect: return" in capsys.readouterr().out


def test_an_episode_is_as_long_as_in_training(tmp_path, film):
    path = small_agents(tmp_path / "minimal_state_7", 2, 3)
    words = ["coin", "--checkpoint", str(path), "--output", str(tmp_path / "film.gif")]
    assert film(words) == 0
    with Image.open(tmp_path / "film.gif") as shown:
        assert shown.n_frames == 6


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--opponent", "nobody"], "neither self, always-cooperate, always-defect, random nor a file"),
        (["--steps", "0"], "1 to 200"),
        (["--steps", "201"], "1 to 200"),
        (["--fps", "0"], "0.2 to 50"),
        (["--fps", "nan"], "0.2 to 50"),
        (["--seed", "-1"], "0 to 4294967295"),
        (["--output", "film.mp4"], "end in .gif"),
        (["--checkpoint", "absent"], "no checkpoint at absent"),
        (["--checkpoint", "cut"], "damaged"),
        (["--checkpoint", "ipd"], "does not hold agents of the Coin Game"),
        (["--checkpoint", "sizes"], "does not fit"),
        (["--checkpoint", "state"], "not a file of LOQA agents"),
        (["--opponent", "other"], "board of 2 x 3"),
    ],
)
def test_bad_input_is_answered_in_one_line(words, reason, tmp_path, film, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = small_agents(tmp_path / "good", 3, 3)
    small_agents(tmp_path / "other", 2, 3)
    small_agents(tmp_path / "ipd", 3, 3, hp={"game_length": 50, "actor": {"model": "gru"}})
    small_agents(tmp_path / "sizes", 3, 3, hp=hp_of(3, 3, hidden=8))
    checkpoints.save(tmp_path / "state", {"x": np.zeros(1)}, {})
    (tmp_path / "cut").write_bytes(good.read_bytes()[:-20])
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


@pytest.mark.parametrize("opponent", ["self", "always-defect"])
def test_the_films_of_the_readme_are_what_its_commands_draw(film, tmp_path, opponent, same_film):
    """As many frames, and the same last one, which shows where both ended and every coin taken."""
    agents_file = ROOT / "loqa" / "agents" / "coin" / "minimal_state_6000"
    words = [
        "coin",
        "--checkpoint",
        str(agents_file),
        "--opponent",
        opponent,
        "--output",
        str(tmp_path / "a.gif"),
    ]
    assert film(words) == 0
    shown = ROOT / "loqa" / "films" / ("coin.gif" if opponent == "self" else "coin-defector.gif")
    same_film(tmp_path / "a.gif", shown)
