"""A real Chromium without a screen, driven as a person would, with a network of the test's own making."""

import base64
import itertools
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

KEYS = {
    "space": (" ", "Space", 32),
    "left": ("ArrowLeft", "ArrowLeft", 37),
    "escape": ("Escape", "Escape", 27),
}


class Reply(NamedTuple):
    """What a server answers."""

    body: bytes
    kind: str = "application/json"
    status: int = 200


Network = Callable[[str, str, bytes], Reply | None]
"""Gives the reply to a method, an address and a body; None where there is no connection."""


class Browser:
    """A page of a running Chromium; its messages of errors are kept."""

    def __init__(self, connection: ClientConnection, network: Network, addresses: str) -> None:
        self.errors: list[str] = []
        self._network = network
        self._socket = connection
        self._numbers = itertools.count(1)
        for domain in ("Page", "Runtime"):
            self.send(f"{domain}.enable")
        self.send("Fetch.enable", patterns=[{"urlPattern": addresses}])

    def send(self, method: str, **parameters: Any) -> Any:
        """Give a command of the debugging protocol, and wait for the result."""
        number = self._post(method, **parameters)
        while True:
            message = json.loads(self._socket.recv(timeout=200))
            if message.get("id") == number:
                assert "error" not in message, (method, message)
                return message["result"]
            self._react(message.get("method"), message.get("params"))

    def _post(self, method: str, **parameters: Any) -> int:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        return number

    def _react(self, event: str | None, details: Any) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(str(details["exceptionDetails"])[:2000])
        elif event == "Page.javascriptDialogOpening":  # "leave this page?"
            self._post("Page.handleJavaScriptDialog", accept=True)
        elif event == "Fetch.requestPaused":
            request = details["request"]
            parts = request.get("postDataEntries", [])
            body = b"".join(base64.b64decode(part.get("bytes", "")) for part in parts)
            reply = self._network(request["method"], request["url"], body)
            if reply is None:
                self._post(
                    "Fetch.failRequest", requestId=details["requestId"], errorReason="InternetDisconnected"
                )
                return
            headers = {"Content-Type": reply.kind, "Cache-Control": "no-store"}
            headers |= {f"Access-Control-Allow-{what}": "*" for what in ("Origin", "Methods", "Headers")}
            self._post(
                "Fetch.fulfillRequest",
                requestId=details["requestId"],
                responseCode=reply.status,
                responseHeaders=[{"name": name, "value": value} for name, value in headers.items()],
                body=base64.b64encode(reply.body).decode(),
            )

    def size(self, width: int, height: int, phone: bool = False) -> None:
        """Make the window so large, or the page that of a phone."""
        scale = 2 if phone else 1
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=phone,
        )  # fmt: skip
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """Evaluate JavaScript; gives its value, or None if it fails."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        return None if "exceptionDetails" in answer else answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 200) -> Any:
        """Wait for a JavaScript expression to become true; gives its value."""
        return self.until(lambda: self.run(condition), condition, seconds)

    def until(self, done: Callable[[], Any], what: str, seconds: float = 200) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := done()):
            assert time.monotonic() < deadline, (what, self.errors[-3:])
            self.pause(0.02)
        return value

    def pause(self, seconds: float) -> None:
        """Wait, and serve what the page asks for meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.run("0")
            time.sleep(0.01)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, x: float, y: float) -> None:
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, name: str) -> None:
        key, code, number = KEYS.get(name, (name, f"Key{name.upper()}", ord(name[0].upper())))
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=code, windowsVirtualKeyCode=number)

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(program: str, folder: Path, network: Network, addresses: str = "http*") -> Iterator[Browser]:
    """Start Chromium with an empty profile, and give its page; downloads come to `folder`.

    Other `addresses` than those that the network is asked for are this computer's own servers.
    """
    options = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--mute-audio",
        "--no-first-run", "--disable-background-networking", "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'profile'}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(
        [program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        port = next(
            found[1] for line in process.stderr if (found := re.search(r"ws://127\.0\.0\.1:(\d+)/", line))
        )
        with urlopen(f"http://127.0.0.1:{port}/json") as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None) as connection:
            browser = Browser(connection, network, addresses)
            browser.send(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "downloads")
            )
            yield browser
    finally:
        process.terminate()
        process.wait()
