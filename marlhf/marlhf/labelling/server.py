"""The server behind the page: the standard library's, on this machine only.

    GET  /                     the page              GET  /strip/<pair>/<left|right>.png   an episode's frames
    GET  /pair                 the next pair         POST /choice {"pair": ..., "choice": "left"}

A pair is named by its place and what is in it, so that a page that was left open can't judge another pair by mistake.
A choice is in the file, on the disk, before the next pair is answered. Pairs that the file has already are not shown
again, so stopping at any moment and starting again goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
import signal
import string
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError
from marlhf.data.people import CHOICES, Comparison, Journal, Side
from marlhf.labelling.pairs import Episodes, default_painter, draw_pairs, strip

PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
#: what a person should look for, by task
GOALS = {
    "spread": "Together, the agents should cover every landmark and not bump into each other.",
    "reference": "Each agent should reach its landmark, which only the other one knows and can tell.",
    "tag": "Together, the chasers should touch the runner as often as they can.",
    "overcooked": "Together, the cooks should serve as many soups as they can.",
}
Painter = Callable[[Any, np.ndarray, list[str]], np.ndarray]


@dataclass(frozen=True)
class LabellingSettings:
    """What is shown, and where choices go.

    Attributes:
        files: files of recorded play whose episodes are compared.
        output: the file of comparisons; what it has already stays.
        pairs, seed: how many pairs are drawn from the episodes, and the seed they are drawn with.
        port: of the page; 0 takes a free one.
        agent: compare this agent's part in the episodes; None: the team's.
        who: a name to put beside every choice.
    """

    files: tuple[Path, ...]
    output: Path
    pairs: int = 100
    seed: int = 0
    port: int = 8765
    agent: int | None = None
    who: str = ""


def _name(number: int, pair: tuple[Side, Side]) -> str:
    return f"{number}-{hashlib.sha256(repr(pair).encode()).hexdigest()[:12]}"


class Session:
    """The pairs, the file of choices, and what is left to do; one request at a time.

    Args:
        painter: draws world states [T, W] of a task, with a caption each, as frames [T, H, W, 3] uint8, all in one
            scale.

    Raises:
        UserError: the files or the settings don't fit (see `Episodes`, `draw_pairs`, `Journal`).
    """

    def __init__(self, settings: LabellingSettings, task: Any, painter: Painter):
        if not settings.files:
            raise UserError("no files of recorded play to show; name at least one")
        self.settings, self.task, self._painter = settings, task, painter
        self.episodes = Episodes(settings.files, task)
        self.pairs = draw_pairs(self.episodes, settings.pairs, settings.seed, settings.agent)
        self.journal = Journal(settings.output, task.id)
        self.lock = threading.Lock()
        self.names = [_name(number, pair) for number, pair in enumerate(self.pairs)]
        judged = {(entry.left, entry.right) for entry in self.journal.comparisons}
        self._open = [number for number, pair in enumerate(self.pairs) if pair not in judged]
        self.made = 0
        self._drawing = threading.Lock()
        self._drawn = lru_cache(maxsize=4)(self._draw)

    def current(self) -> dict[str, Any]:
        """What the page shows next (JSON)."""
        total = len(self.pairs)
        state = {"done": total - len(self._open), "total": total, "output": str(self.settings.output)}
        if not self._open:
            return state | {"finished": True}
        number = self._open[0]
        agent = self.settings.agent  # its letter is the one in the picture
        who = "" if agent is None else f" Judge agent {string.ascii_uppercase[agent]} only."
        sides = {}
        for name in ("left", "right"):
            drawn = self.strips(number)[name]
            sides[name] = {"image": f"/strip/{self.names[number]}/{name}.png"}
            sides[name] |= {key: drawn[key] for key in ("frames", "columns", "width", "height")}
        return (
            state
            | {"finished": False, "pair": self.names[number], "goal": GOALS.get(self.task.name, "") + who}
            | sides
        )

    def choose(self, pair: Any, choice: Any) -> bool:
        """Keep a choice; False when this pair is not the one to be judged (a second click).

        Raises:
            ValueError: there is no such choice.
            OSError: it could not be written; nothing has changed.
        """
        if choice not in CHOICES:
            raise ValueError(f"a choice is one of {', '.join(CHOICES)}")
        if not self._open or pair != self.names[self._open[0]]:
            return False
        left, right = self.pairs[self._open[0]]
        when = datetime.now(UTC).isoformat(timespec="seconds")
        self.journal.add(Comparison(left, right, choice, self.settings.who, when))
        self._open.pop(0)
        self.made += 1
        return True

    def strips(self, number: int) -> dict[str, dict[str, Any]]:
        """Both sides of a pair, drawn: ``png``, how many ``frames`` in how many ``columns``, a frame's size."""
        with self._drawing:
            return self._drawn(number)

    def draw_ahead(self) -> None:
        """Draw the pair after the current one, so that nobody waits for it."""
        if len(self._open) > 1:
            threading.Thread(target=self.strips, args=(self._open[1],), daemon=True).start()

    def _draw(self, number: int) -> dict[str, dict[str, Any]]:
        """Both sides at once: in one scale, or the eye would take the nearer one for the larger one."""
        states = [np.asarray(self.episodes.states(side), np.float32) for side in self.pairs[number]]
        captions = [f"step {step}" for state in states for step in range(len(state))]
        frames = self._painter(self.task, np.concatenate(states), captions)
        drawn = {}
        for name, part in zip(("left", "right"), np.split(frames, [len(states[0])]), strict=True):
            count, height, width, _ = part.shape
            png, columns = strip(part)
            drawn[name] = {"png": png, "frames": count, "columns": columns, "width": width, "height": height}
        return drawn


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; `session` and `port` are set by `_handler`."""

    session: Session
    port: int
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing: a person reads this terminal."""

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self'; img-src 'self' data:")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def _json(self, status: HTTPStatus, content: Any) -> None:
        self._answer(status, json.dumps(content).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._json(status, {"error": why})

    def _local(self) -> bool:
        """Whether the request is meant for this page: no other site can send one through a person's browser."""
        names = {f"{host}:{self.port}" for host in ("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in names and (origin is None or origin.removeprefix("http://") in names):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "this page answers to 127.0.0.1 only")
        return False

    def do_GET(self) -> None:
        """The page, the next pair, or an episode's frames."""
        if not self._local():
            return
        parts = self.path.split("/")
        if self.path in _FILES:
            name, kind = _FILES[self.path]
            self._answer(HTTPStatus.OK, (PAGE / name).read_bytes(), kind)
        elif self.path == "/pair":
            with self.session.lock:
                found = self.session.current()
            self._json(HTTPStatus.OK, found)
            self.session.draw_ahead()
        elif len(parts) == 4 and parts[1] == "strip":
            self._strip(parts[2], parts[3].removesuffix(".png"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}")

    def _strip(self, pair: str, name: str) -> None:
        if pair not in self.session.names or name not in ("left", "right"):
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}")
            return
        content = self.session.strips(self.session.names.index(pair))[name]["png"]
        self._answer(HTTPStatus.OK, content, "image/png")

    def do_POST(self) -> None:
        """A choice; the answer is the next pair."""
        if not self._local():
            return
        if self.path != "/choice" or self.headers.get("Content-Type") != "application/json":
            self._refuse(HTTPStatus.NOT_FOUND, "choices go to /choice as application/json")
            return
        try:
            length = int(self.headers.get("Content-Length", 0))
            found = json.loads(self.rfile.read(min(length, 4096)))
            with self.session.lock:
                taken = self.session.choose(found["pair"], found["choice"])
                answer = self.session.current()
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"that is no choice: {error}")
        except OSError as error:
            self._refuse(
                HTTPStatus.INSUFFICIENT_STORAGE, f"the choice could not be written: {error.strerror}"
            )
        else:
            self._json(HTTPStatus.OK if taken else HTTPStatus.CONFLICT, answer)
            self.session.draw_ahead()


def open_server(
    settings: LabellingSettings, task: Any, painter: Painter | None = None
) -> tuple[ThreadingHTTPServer, Session]:
    """The server, bound to 127.0.0.1 and not yet running, and its session.

    Raises:
        UserError: see `Session`; or the port is taken.
    """
    session = Session(settings, task, painter or default_painter())
    handler = type("Handler", (_Handler,), {"session": session})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", settings.port), handler)
    except (OSError, OverflowError):
        session.journal.close()
        raise UserError(f"PORT={settings.port} can't be used; another one may be free, 0 finds one") from None
    server.daemon_threads = True
    handler.port = server.server_address[1]
    return server, session


def _stop_when_told() -> None:
    """Ctrl-C and a plain kill end serving in order, also where a shell's background job has Ctrl-C ignored."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)


def serve(settings: LabellingSettings, task: Any, painter: Painter | None = None) -> int:
    """Show the page until Ctrl-C; returns how many choices were made.

    Args:
        task: an `environments.Task`; the files' play is of it.

    Raises:
        UserError: the files, the settings or the port can't be used.
    """
    server, session = open_server(settings, task, painter)
    left = session.current()
    print(
        f"{left['done']} of {left['total']} pairs are judged; choices go to {settings.output}\n"
        f"open http://127.0.0.1:{server.server_address[1]}/ in a browser; Ctrl-C stops, nothing is lost",
        flush=True,
    )
    _stop_when_told()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        server.server_close()
        session.journal.close()
    print(f"{session.made} choices made now, {len(session.journal.comparisons)} in {settings.output}")
    return session.made
