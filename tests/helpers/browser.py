"""Headless Chromium for tests, controlled through a pipe (the DevTools protocol)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 120


class Browser:
    def __init__(self, requests: IO[bytes], answers: IO[bytes]):
        self._requests = requests
        self._answers = answers
        self._count = 0
        self._session: str | None = None

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._requests.write(json.dumps(message).encode() + b"\0")
        self._requests.flush()
        answer = self._wait("id", self._count)
        assert "error" not in answer, answer
        return answer["result"]

    def _wait(self, key: str, value: Any) -> dict[str, Any]:
        """Returns the next message with these values; drops others."""
        while True:
            message = b""
            while (byte := self._answers.read(1)) != b"\0":
                assert byte, "the browser has gone away"
                message += byte
            if (values := json.loads(message)).get(key) == value:
                return values

    def open(self, url: str) -> None:
        """Loads a page with its scripts."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        self._wait("method", "Page.loadEventFired")

    def choose(self, selector: str, paths: list[Path]) -> None:
        """Chooses files like a user of an <input type="file">."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[os.fspath(p) for p in paths])

    def evaluate(self, expression: str) -> Any:
        """Evaluates a JavaScript expression; awaits a promise."""
        done = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in `folder`. It exits with the context."""
    there, requests = os.pipe()
    answers, back = os.pipe()
    options = (
        "--headless --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync"
    )
    command = f'exec "$0" {options} --user-data-dir="$1" about:blank 3<&{there} 4>&{back}'
    process = subprocess.Popen(
        ["bash", "-c", command, str(CHROMIUM), str(folder)],
        pass_fds=(there, back),
        stderr=subprocess.DEVNULL,
    )
    os.close(there)
    os.close(back)
    watchdog = threading.Timer(SECONDS, process.kill)  # a test must not hang
    watchdog.start()
    try:
        with os.fdopen(requests, "wb") as to, os.fdopen(answers, "rb") as back_from:
            yield Browser(to, back_from)
    finally:
        watchdog.cancel()
        process.terminate()
        process.wait(30)
