"""Chromium, driven through its DevTools protocol: a page is opened, asked, pressed and photographed."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 60.0
HIGHEST = 16_000
"""Pixels: what Chromium can draw in one piece."""
SLOWEST = 600.0
"""Seconds that a command may take: a busy machine is slow."""


def binary() -> str | None:
    """Where a Chromium is; None where this machine has none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def why_not() -> str:
    """Why nothing can be tested in a browser here, in words; empty where it can."""
    if binary() is None:
        return "no Chromium on this machine (Debian: apt-get install chromium)"
    try:
        import websocket  # noqa: F401
    except ImportError:
        return "the package websocket-client is not installed (make setup)"
    return ""


class Tab:
    """One page. Screens are in CSS pixels; `said` is what its console said, and what it failed to load."""

    def __init__(self, address: str) -> None:
        import websocket

        self._socket = websocket.create_connection(address, timeout=SLOWEST, suppress_origin=True)
        self._number = 0
        self._loaded = False
        self._screen: dict[str, Any] = {"width": 800}
        self.said: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (message := json.loads(self._socket.recv())).get("id") != self._number:
            self._note(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        found: dict[str, Any] = message["result"]
        return found

    def _note(self, message: dict[str, Any]) -> None:
        what, of = message.get("method"), message.get("params", {})
        if what == "Page.loadEventFired":
            self._loaded = True
        elif what == "Runtime.exceptionThrown":
            one = of["exceptionDetails"]
            self.said.append(one.get("exception", {}).get("description", one["text"]).splitlines()[0])
        elif what == "Runtime.consoleAPICalled" and of["type"] in ("error", "warning", "assert"):
            self.said.append(" ".join(str(a.get("value", a.get("description"))) for a in of["args"]))
        elif what == "Log.entryAdded" and of["entry"]["level"] in ("error", "warning"):
            self.said.append(f"{of['entry']['text']} {of['entry'].get('url', '')}".strip())
        elif what == "Network.requestWillBeSent":
            self.asked.append(of["request"]["url"])

    def screen(self, width: int, height: int, *, dark: bool = False) -> None:
        """How large the screen is, and which mode the system prefers."""
        self._screen = {"width": width, "dark": dark}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def scripts(self, run: bool) -> None:
        """Whether pages may run scripts, as from their next loading."""
        self.call("Emulation.setScriptExecutionDisabled", value=not run)

    def open(self, address: str, *, seconds: float = 60.0) -> None:
        """Load a page, and wait until it has loaded and its scripts are quiet."""
        self.said.clear()
        self.asked.clear()
        self._loaded = False
        self.call("Page.navigate", url=address)
        end = time.monotonic() + seconds
        while not self._loaded:
            if time.monotonic() > end:
                raise TimeoutError(f"{address} did not load in {seconds:.0f} s")
            self._note(json.loads(self._socket.recv()))
        self.wait(0.3)

    def wait(self, seconds: float) -> None:
        """Let the page work."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(max(left, 0.01))
            with contextlib.suppress(Exception):  # nothing was said meanwhile
                self._note(json.loads(self._socket.recv()))
        self._socket.settimeout(SLOWEST)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", expression))
        return found["result"].get("value")

    def press(self, key: str, *, times: int = 1) -> None:
        """A key of the keyboard by its name: Tab, ArrowRight, Enter, Home, End, or a space."""
        code = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                typed = {"text": text} if kind == "keyDown" and text else {}
                name = "Space" if key == " " else key
                self.call(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=key,
                    code=name,
                    windowsVirtualKeyCode=code,
                    **typed,
                )

    def photograph(self, path: Path, *, whole: bool = False) -> None:
        """The screen, or the whole page, as a PNG; images are waited for."""
        if whole:  # a screen as high as the page: beyond a screen's end Chromium lays the page out anew
            height = self.call("Page.getLayoutMetrics")["cssContentSize"]["height"]
            self.screen(**self._screen, height=int(min(height, HIGHEST)))
        # A lazy image below the screen is never decoded: nobody would come back.
        shown = "[...document.images].map((i) => i.decode().catch(() => null))"
        self.ask(f"Promise.race([Promise.all({shown}), new Promise((r) => setTimeout(r, 3000))]).then(() => 0)")
        found = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@contextlib.contextmanager
def browser() -> Iterator[Tab]:
    """A headless Chromium with one empty page; it is ended with what it wrote."""
    name = binary()
    if name is None:
        raise RuntimeError(why_not())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [name, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder}",
             "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        tab = None
        try:
            tab = Tab(_address(Path(folder), process))
            yield tab
        finally:
            if tab is not None:
                tab.close()
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser's first page can be spoken to."""
    noted, end = folder / "DevToolsActivePort", time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, IndexError, StopIteration):
            port = noted.read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                pages = json.load(answer)
            return str(next(p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page"))
        time.sleep(0.1)
    raise RuntimeError("Chromium did not start")
