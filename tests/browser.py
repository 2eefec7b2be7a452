"""A real headless Chromium, driven through chromedriver by the W3C's WebDriver protocol."""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

CHROMEDRIVER = shutil.which("chromedriver")
CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")

needs_browser = pytest.mark.skipif(not CHROMEDRIVER or not CHROMIUM, reason="needs Chromium and chromedriver")


@dataclass(frozen=True)
class Browser:
    session: str

    def open(self, url: str) -> None:
        """Load a page; returns when it has loaded."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """What the script returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """What the script returns as soon as that is true."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"the page must come to `{script}`, but shows:\n{self.text()}"
            time.sleep(0.1)
        return found

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def complaints(self) -> list[str]:
        """Warnings and errors in the console since the last call."""
        log = self._call("POST", "/se/log", {"type": "browser"})
        return [each["message"] for each in log if each["level"] in ("WARNING", "SEVERE")]

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return _answer(method, self.session + path, body)


@contextmanager
def browser(width: int = 1280, height: int = 900, *flags: str) -> Iterator[Browser]:
    """A browser with a window of this size."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([str(CHROMEDRIVER), f"--port={port}"], stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    options = {"args": [*FLAGS, f"--window-size={width},{height}", *flags], "binary": CHROMIUM}
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    try:
        _until_ready(url)
        made = _answer("POST", f"{url}/session", {"capabilities": {"alwaysMatch": wanted}})
        found = Browser(f"{url}/session/{made['sessionId']}")
        yield found
        _answer("DELETE", found.session, None)
    finally:
        driver.terminate()
        driver.wait()


def _until_ready(url: str) -> None:
    for _ in range(100):
        try:
            _answer("GET", f"{url}/status", None)
            return
        except URLError:
            time.sleep(0.1)
    raise AssertionError("chromedriver did not start")


def _answer(method: str, url: str, body: Any) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}, method=method), timeout=120) as answer:
        return json.load(answer)["value"]
