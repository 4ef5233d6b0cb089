"""A headless Chromium, told over its debugging pipe what to show; nothing but the browser itself is needed."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


class Browser:
    """One page: ``requests`` are what it asked for, ``complaints`` what it said on its console and threw."""

    def __init__(self, ask: int, told: int):
        self._ask, self._told, self._number, self._rest = ask, told, 0, [b""]
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """What the browser answers; RuntimeError where it refuses."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._ask, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                return dict(found["result"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest[-1]:
            part = os.read(self._told, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._rest.append(part)
        text, _, rest = b"".join(self._rest).partition(b"\0")
        self._rest = [rest]
        found = dict(json.loads(text))
        values = found.get("params", {})
        match found.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])
            case "Runtime.consoleAPICalled":
                self.complaints += [str(part.get("value", part.get("description"))) for part in values["args"]]
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(values["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(values["entry"]["text"])
        return found

    def look(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """Open a page and wait until its charts are drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass
        self.run("window.drawn.then(() => true)")

    def open(self, url: str, until: str, seconds: float = 60) -> None:
        """Go to a page and wait until a script says true of it."""
        self.call("Page.navigate", url=url)
        end = time.monotonic() + seconds
        while not self.run(until):
            if time.monotonic() > end:
                raise RuntimeError(f"{url}: not {until} within {seconds:g} s")
            time.sleep(0.2)

    def run(self, script: str) -> Any:
        """The value of a script's last expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def paper(self, path: Path) -> None:
        """The page as a PDF, whatever the screen looks like."""
        self.call("Emulation.setEmulatedMedia", media="print")
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that ends with the block."""
    asked, ask = os.pipe()
    told, tell = os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = f'exec "$@" 3<&{asked} 4>&{tell}'
        words = [str(PATH), *FLAGS, f"--user-data-dir={home}", "--remote-debugging-pipe", "about:blank"]
        process = subprocess.Popen(
            ["bash", "-c", command, "bash", *words],
            pass_fds=(asked, tell),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(asked)
        os.close(tell)
        try:
            yield Browser(ask, told)
        finally:
            os.close(ask)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
