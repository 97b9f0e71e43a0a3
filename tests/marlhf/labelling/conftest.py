"""A headless Chromium that a test can look at and click in: DevTools protocol over a plain socket."""

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.request

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--hide-scrollbars",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-port=0"),
]
WAIT = 60.0


class Tab:
    """One tab: `call` a DevTools method, `value` of an expression, `until` an expression is true."""

    def __init__(self, address):
        host, _, path = address.removeprefix("ws://").partition("/")
        name, _, port = host.partition(":")
        self.socket = socket.create_connection((name, int(port)), timeout=WAIT)
        self.buffer, self.number = b"", 0
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.socket.recv(65536)
        answer, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        assert b" 101 " in answer

    def _take(self, count):
        while len(self.buffer) < count:
            received = self.socket.recv(65536)
            assert received, "the browser closed the connection"
            self.buffer += received
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _message(self):
        content = b""
        while True:
            first, second = self._take(2)
            size = second & 127
            if size > 125:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            content += self._take(size)
            if first & 128:  # the last part of a message
                return json.loads(content)

    def call(self, method, **parameters):
        self.number += 1
        content = json.dumps({"id": self.number, "method": method, "params": parameters}).encode()
        size = len(content)
        head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(content))
        self.socket.sendall(head + mask + masked)
        while True:
            message = self._message()
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def value(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression):
        began = time.monotonic()
        while not self.value(expression):
            assert time.monotonic() < began + WAIT, f"never true: {expression}"
            time.sleep(0.05)

    def click(self, selector):
        """A real mouse click in the middle of an element."""
        place = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const box = e.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
            )

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key if key != " " else "Space")

    def size(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def picture(self):
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    """Opens an address in a new tab."""
    if BROWSER is None:
        pytest.skip("no Chromium installed")
    profile = tmp_path_factory.mktemp("profile")
    process = subprocess.Popen(
        [BROWSER, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    began, said = time.monotonic(), profile / "DevToolsActivePort"
    while not (said.is_file() and said.read_text().count("\n")):
        assert process.poll() is None and time.monotonic() < began + WAIT, "Chromium did not start"
        time.sleep(0.05)
    port = said.read_text().splitlines()[0]

    def opened(address):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?{address}", method="PUT")
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return Tab(json.load(answer)["webSocketDebuggerUrl"])

    yield opened
    process.terminate()
    process.wait(WAIT)
