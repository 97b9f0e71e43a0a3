"""The labelling page: pairs, requests, and a person's clicks in a browser that arrive in the file."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common.cli import UserError
from marlhf.data.files import Rows, file_hash, save_rows
from marlhf.data.people import read
from marlhf.labelling import LabellingSettings
from marlhf.labelling.pairs import Episodes, draw_pairs, strip
from marlhf.labelling.server import open_server

LENGTH, ENVS = 6, 5
TASK = SimpleNamespace(
    name="spread", id="MPE_simple_spread_v3", agents=("a", "b"), episode_length=LENGTH, state_size=3
)


def write(path, seed=0):
    """Two episodes a row; the world state is (row, step in the episode, seed)."""
    steps, n = 2 * LENGTH, 2
    state = np.zeros((steps, ENVS, 3), np.float32)
    state[..., 0], state[..., 1] = np.arange(ENVS)[None], (np.arange(steps) % LENGTH)[:, None]
    state[..., 2] = seed
    info = (np.zeros((steps, ENVS, n), kind) for kind in (np.float32, np.float32, bool))
    rows = Rows(
        np.zeros((steps, n, ENVS, 4), np.float32), state, np.zeros((steps, n, ENVS), np.int32),
        np.zeros((steps, n, ENVS), np.float32), np.zeros((steps, ENVS), np.float32),
        np.zeros((steps, ENVS), bool), *info,
    )  # fmt: skip
    save_rows(path, rows, {"agents": list(TASK.agents), "task": TASK.id})
    return path


def painter(task, states, captions):
    """Grey squares: lighter from step to step, another shade in every row. Both sides of a pair come at once."""
    assert task is TASK and states.shape == (2 * LENGTH, 3)
    assert captions == [f"step {step}" for step in range(LENGTH)] * 2
    shade = (states[:, 0] * 20 + states[:, 1] * 20).astype(np.uint8)
    return np.broadcast_to(shade[:, None, None, None], (2 * LENGTH, 40, 50, 3))


@pytest.fixture
def settings(tmp_path):
    return LabellingSettings(
        (write(tmp_path / "play.npz"),), tmp_path / "p.jsonl", pairs=4, port=0, who="ada"
    )


@pytest.fixture
def running(settings):
    """A server that runs beside the test: its session, its address, and how to ask it."""
    server, session = open_server(settings, TASK, painter)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    port = server.server_address[1]

    def ask(path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", path, sent, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content

    yield SimpleNamespace(session=session, ask=ask, url=f"http://127.0.0.1:{port}/", port=port)
    server.shutdown()
    thread.join()
    server.server_close()
    session.journal.close()


def test_pairs_are_different_episodes_and_the_same_every_time(settings):
    episodes = Episodes(settings.files, TASK)
    assert episodes.count == 2 * ENVS
    pairs = draw_pairs(episodes, 45, 0)  # all there are
    assert len({frozenset(pair) for pair in pairs}) == 45 and all(left != right for left, right in pairs)
    assert draw_pairs(episodes, 4, 3) == draw_pairs(episodes, 4, 3) != draw_pairs(episodes, 4, 4)
    left, _ = draw_pairs(episodes, 1, 0, agent=1)[0]
    assert left.agent == 1 and left.file == file_hash(settings.files[0])
    np.testing.assert_array_equal(episodes.states(left), [[left.row, step, 0] for step in range(LENGTH)])
    for count in (0, 46):
        with pytest.raises(UserError, match="10 episodes make 1 to 45 pairs"):
            draw_pairs(episodes, count, 0)
    with pytest.raises(UserError, match="has agents 0 to 1"):
        draw_pairs(episodes, 1, 0, agent=2)


def test_a_strip_holds_every_frame():
    import io

    from PIL import Image

    frames = np.random.default_rng(0).integers(0, 255, (7, 4, 5, 3)).astype(np.uint8)
    png, columns = strip(frames)
    sheet = np.asarray(Image.open(io.BytesIO(png)))
    assert columns == 3 and sheet.shape == (12, 15, 3)
    for number, frame in enumerate(frames):
        y, x = divmod(number, columns)
        np.testing.assert_array_equal(sheet[4 * y : 4 * y + 4, 5 * x : 5 * x + 5], frame)


def test_choices_by_hand(running, settings):
    status, found = running.ask("/pair")
    assert status == 200 and (found["done"], found["total"], found["finished"]) == (0, 4, False)
    assert running.ask(found["left"]["image"])[1].startswith(b"\x89PNG")
    for number, choice in enumerate(("left", "equal", "right", "left"), 1):
        status, after = running.ask("/choice", {"pair": found["pair"], "choice": choice})
        assert status == 200 and after["done"] == number
        entry = read(settings.output, TASK.id)[-1]  # on the disk with the answer
        assert entry.choice == choice and entry.who == "ada" and entry.when.endswith("+00:00")
        assert (entry.left, entry.right) == running.session.pairs[number - 1]
        status, again = running.ask("/choice", {"pair": found["pair"], "choice": choice})
        assert status == 409 and again == after, "a second click judges nothing"
        found = after
    assert found["finished"] and len(read(settings.output, TASK.id)) == 4


def test_what_is_refused(running, settings):
    name = running.ask("/pair")[1]["pair"]
    good = {"pair": name, "choice": "left"}
    for body in (b"{", b"[]", {"pair": name}, {"pair": name, "choice": "both"}, {"pair": name, "choice": []}):
        assert running.ask("/choice", body)[0] == 400
    assert running.ask("/choice", {"pair": 0, "choice": "left"})[0] == 409
    assert running.ask("/choice", good, Origin="http://example.org")[0] == 403
    assert running.ask("/pair", Host="example.org")[0] == 403
    assert running.ask("/choice", good, **{"Content-Type": "text/plain"})[0] == 404
    for path in ("/../server.py", "/page/index.html", "/strip/9/left.png", f"/strip/{name}/up.png", "/x"):
        assert running.ask(path)[0] == 404
    assert read(settings.output, TASK.id) == []


def test_a_full_disk_is_said_and_the_pair_stays(running, settings, monkeypatch):
    before = running.ask("/pair")[1]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("marlhf.data.people.os.fsync", full)
    status, answer = running.ask("/choice", {"pair": before["pair"], "choice": "left"})
    assert status == 507 and "No space left on device" in answer["error"]
    monkeypatch.undo()
    assert running.ask("/pair")[1] == before and read(settings.output, TASK.id) == []


def test_what_can_not_be_shown(settings, tmp_path):
    other = SimpleNamespace(**{**vars(TASK), "id": "overcooked"})
    with pytest.raises(UserError, match="was made by MPE_simple_spread_v3"):
        open_server(settings, other, painter)
    wide = SimpleNamespace(**{**vars(TASK), "state_size": 9})
    with pytest.raises(UserError, match="world states of size 3"):
        open_server(settings, wide, painter)
    with pytest.raises(UserError, match="no files of recorded play"):
        open_server(LabellingSettings((), settings.output), TASK, painter)
    with pytest.raises(UserError, match="no file of recorded play at"):
        open_server(LabellingSettings((tmp_path / "none.npz",), settings.output), TASK, painter)
    with pytest.raises(UserError, match="PORT=70000 can't be used"):
        open_server(LabellingSettings(settings.files, settings.output, pairs=4, port=70000), TASK, painter)


def test_the_page_is_part_of_the_package():
    import marlhf.labelling

    page = Path(marlhf.labelling.__file__).parent / "page"
    assert {path.name for path in page.iterdir()} == {"index.html", "page.css", "page.js"}


# --- in a browser ------------------------------------------------------------------------------------------------

READY = "document.querySelector('.choice')?.disabled === false"
COUNT = "document.querySelector('#count').textContent"


@pytest.mark.browser
def test_a_person_clicks_and_it_arrives(running, settings, tab):
    page = tab(running.url)
    page.size(1100, 900)
    page.until(READY)
    assert page.value(COUNT) == "0 of 4 judged" and "cover every landmark" in page.value(
        "document.body.innerText"
    )

    page.press(" ")
    assert page.value("document.querySelector('#play').textContent") == "Play"
    # the first frame of the left episode: the shade that the painter gave it
    shade = "[...document.querySelector('#left-episode').getContext('2d').getImageData(9, 9, 1, 1).data][0]"
    page.value(
        "(() => { const s = document.querySelector('#step'); s.value = 3; s.dispatchEvent(new Event('input')); })()"
    )
    assert page.value(shade) == 20 * running.session.pairs[0][0].row + 20 * 3
    right = running.session.pairs[0][1].row
    assert page.value(shade.replace("left", "right")) == 20 * right + 20 * 3
    page.click("#play")
    page.until("document.querySelector('#step').value != 3")

    page.click(".choice[data-choice=right]")
    page.until(f"{READY} && {COUNT} == '1 of 4 judged'")
    for key, count in (("ArrowDown", 2), ("ArrowLeft", 3)):
        page.press(key)
        page.until(f"{READY} && {COUNT} == '{count} of 4 judged'")
    entries = read(settings.output, TASK.id)
    assert [entry.choice for entry in entries] == ["right", "equal", "left"]
    assert [(entry.left, entry.right) for entry in entries] == running.session.pairs[:3]

    page.click(".choice[data-choice=equal]")
    page.until("!document.querySelector('#finished').hidden")
    assert page.value("document.querySelector('#output').textContent") == str(settings.output)
    assert page.value("document.querySelector('#pair').hidden") and len(read(settings.output, TASK.id)) == 4


MEASURE = """(() => {
  const wide = [...document.querySelectorAll('main *')].filter(e => e.getClientRects().length).filter(e => {
    const box = e.getBoundingClientRect();
    return box.left < -0.5 || box.right > innerWidth + 0.5 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth; });
  const boxes = [...document.querySelectorAll('canvas, button, #step')].filter(e => e.getClientRects().length)
    .map(e => e.getBoundingClientRect());
  const clash = boxes.some((a, i) => boxes.slice(i + 1).some(b =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1));
  const [left, right] = ['left', 'right'].map(n => document.querySelector(`#${n}-episode`).getBoundingClientRect());
  return { scroll: document.documentElement.scrollWidth, wide: wide.map(e => e.tagName + e.id), clash,
    level: left.top === right.top && left.width === right.width, episode: left.width,
    low: Math.min(...[...document.querySelectorAll('button')].filter(e => e.getClientRects().length)
      .map(e => e.getBoundingClientRect().height)) };
})()"""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "least"), [(1280, 400), (390, 150), (360, 140)])
def test_the_page_fits_a_desk_and_a_phone(running, tab, width, least):
    page = tab(running.url)
    page.size(width, 800)
    page.until(READY)
    seen = page.value(MEASURE)
    assert seen["scroll"] <= width and seen["wide"] == [] and not seen["clash"] and seen["level"]
    assert seen["episode"] > least and seen["low"] >= 44, "buttons that a thumb can hit"


SERVE = """
import sys
from types import SimpleNamespace
from pathlib import Path
import numpy as np
from marlhf.labelling import LabellingSettings, serve
task = SimpleNamespace(name="spread", id="MPE_simple_spread_v3", agents=("a", "b"), episode_length=6, state_size=3)
def painter(task, states, captions):
    return np.zeros((len(states), 20, 20, 3), np.uint8)
serve(LabellingSettings((Path(sys.argv[1]),), Path(sys.argv[2]), pairs=4, port=int(sys.argv[3])), task, painter)
"""


@pytest.mark.browser
def test_killed_in_the_middle_and_started_again(tmp_path, tab):
    play, output = write(tmp_path / "play.npz"), tmp_path / "p.jsonl"

    def start(port=0):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(play), str(output), str(port)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        said = [process.stdout.readline(), process.stdout.readline()]
        return process, said, int(said[1].split(":")[2].split("/")[0])

    process, said, port = start()
    assert said[0].startswith("0 of 4 pairs are judged")
    page = tab(f"http://127.0.0.1:{port}/")
    page.until(READY)
    page.press("ArrowLeft")
    page.until(f"{READY} && {COUNT} == '1 of 4 judged'")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [entry.choice for entry in read(output, TASK.id)] == ["left"]

    page.press("ArrowRight")  # nobody is there to take it
    page.until("!document.querySelector('#trouble').hidden")
    assert "does not answer" in page.value("document.querySelector('#trouble').textContent")
    assert page.value(COUNT) == "1 of 4 judged"

    with open(output, "a") as file:  # and what a crash in the middle of a line leaves behind
        file.write('{"left": {"file": "')
    process, said, again = start(port)
    assert again == port and said[0].startswith("1 of 4 pairs are judged")
    page.click("#trouble button")
    page.until(f"{READY} && {COUNT} == '2 of 4 judged'")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "1 choices made now, 2 in" in out
    assert "cut off while it was written" in err and "Traceback" not in err
    entries = read(output, TASK.id)
    assert [entry.choice for entry in entries] == ["left", "right"]
    expected = draw_pairs(Episodes((play,), TASK), 4, 0)[:2]
    assert [(entry.left, entry.right) for entry in entries] == expected


@pytest.mark.browser
def test_the_command_shows_recorded_play(tmp_path, tab):
    """`train/label_preferences.py` as the README has it, with its own pictures of Spread."""
    home = Path(__file__).resolve().parents[3] / "marlhf"
    steps, n, envs = 26, 3, 2
    draw = np.random.default_rng(0)
    zeros = [np.zeros((steps, envs, n), kind) for kind in (np.float32, np.float32, bool)]
    rows = Rows(
        np.zeros((steps, n, envs, 21), np.float32),
        draw.uniform(-1, 1, (steps, envs, 54)).astype(np.float32),
        np.zeros((steps, n, envs), np.int32), np.zeros((steps, n, envs), np.float32),
        np.zeros((steps, envs), np.float32), np.zeros((steps, envs), bool), *zeros,
    )  # fmt: skip
    save_rows(tmp_path / "play.npz", rows, {"agents": ["agent_0", "agent_1", "agent_2"], "task": TASK.id})
    output = tmp_path / "p.jsonl"
    words = [f"DATA=[{tmp_path}/play.npz]", f"OUTPUT={output}", "PAIRS=1", "PORT=0", "AGENT=1", "WHO=ada"]
    process = subprocess.Popen(
        [sys.executable, "train/label_preferences.py", *words],
        cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = process.stdout.readline()
    while said and "http://" not in said:
        said = process.stdout.readline()
    assert said, process.stderr.read()
    page = tab(said.split()[1])
    page.until(READY)
    assert "Judge agent B only." in page.value("document.querySelector('#goal').textContent")
    drawn = "new Set(document.querySelector('#left-episode').getContext('2d').getImageData(0, 0, 400, 400).data).size"
    assert page.value(drawn) > 50, "a picture, not an even colour"
    page.click(".choice[data-choice=left]")
    page.until("!document.querySelector('#finished').hidden")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err
    (entry,) = read(output, TASK.id)
    assert entry.choice == "left" and entry.who == "ada" and entry.left.agent == entry.right.agent == 1
