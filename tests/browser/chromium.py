"""Headless Chromium for the viewer's tests, driven through a pair of pipes (no port, no driver, no package).

With `--remote-debugging-pipe` Chromium reads DevTools messages from file descriptor 3 and answers on 4: JSON texts
that end with a zero byte.
"""

import base64
import fcntl
import io
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from PIL import Image

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip


class PageError(AssertionError):
    """The page or the browser did not do what a test needs."""


def find() -> str:
    """Path of a Chromium, or a PageError that says how to get one. LYRA_CHROMIUM names one elsewhere."""
    path = os.environ.get("LYRA_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        raise PageError(
            "the viewer's tests need Chromium: install it (Debian and Ubuntu: apt-get install chromium) or set "
            "LYRA_CHROMIUM to its path"
        )
    return path


def _at_three_and_four(read: int, write: int) -> Callable[[], None]:
    """What the child does before it becomes Chromium: its ends of the pipes get the numbers it expects."""

    def move() -> None:
        read_high, write_high = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write))
        os.dup2(read_high, 3)
        os.dup2(write_high, 4)

    return move


class Chromium:
    """A running browser. Use as a context manager; `tab()` gives fresh pages."""

    def __enter__(self) -> "Chromium":
        self._profile = tempfile.TemporaryDirectory(prefix="lyra-chromium-", ignore_cleanup_errors=True)
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        command = [find(), *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            command,
            pass_fds=(3, 4),
            preexec_fn=_at_three_and_four(down_read, up_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down_read)
        os.close(up_write)
        self._down, self._up = os.fdopen(down_write, "wb", 0), os.fdopen(up_read, "rb", 0)
        self._ids = itertools.count(1)
        self._answers: dict[int, dict] = {}
        self._news = threading.Condition()
        self.events: deque[dict] = deque(maxlen=10_000)
        self._closed = False
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (PageError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._down.close()
        self._up.close()
        self._profile.cleanup()

    def _listen(self) -> None:
        rest = b""
        while data := self._up.read(1 << 16):
            *messages, rest = (rest + data).split(b"\0")
            with self._news:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers[message["id"]] = message
                    else:
                        self.events.append(message)
                self._news.notify_all()
        with self._news:
            self._closed = True
            self._news.notify_all()

    def send(self, method: str, session: str | None = None, timeout: float = 60, **params) -> dict:
        """One DevTools command and its result."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        try:
            self._down.write(json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise PageError(f"{method}: Chromium is not running") from None
        with self._news:
            arrived = self._news.wait_for(lambda: number in self._answers or self._closed, timeout)
            if number not in self._answers:
                raise PageError(f"{method}: {'no answer' if not arrived else 'Chromium closed'}")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def tab(self, width: int = 320, height: int = 180, mobile: bool = False) -> "Tab":
        """A new empty page of this size in a window of its own (hidden pages draw nothing), one pixel a CSS pixel."""
        target = self.send("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.send(f"{domain}.enable")
        tab.resize(width, height, mobile)
        return tab


class Tab:
    """One page: navigate, evaluate, press, drag, look."""

    def __init__(self, browser: Chromium, session: str, target: str):
        self.browser, self.session, self.target = browser, session, target

    def send(self, method: str, **params) -> dict:
        """One DevTools command for this page."""
        return self.browser.send(method, self.session, **params)

    def close(self) -> None:
        """Close the page."""
        self.browser.send("Target.closeTarget", targetId=self.target)

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Set the window's size in CSS pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.send("Emulation.setTouchEmulationEnabled", enabled=mobile, maxTouchPoints=2)

    def open(self, url: str) -> None:
        """Go to `url`; returns when the document is loaded (not the scene: see `ready`)."""
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def ready(self) -> None:
        """Wait until the scene is on the screen; a failure that the page shows is raised."""
        self.evaluate("lyra.ready")

    def evaluate(self, expression: str):
        """Value of a JavaScript expression; promises are awaited."""
        result = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            thrown = result["exceptionDetails"].get("exception", {})
            raise PageError(f"{expression[:80]}: {thrown.get('description') or thrown.get('value')}")
        return result["result"].get("value")

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Wait for a JavaScript condition, which may be a promise."""
        until = time.monotonic() + seconds
        while not self.evaluate(f"Promise.resolve({condition}).then(Boolean)"):
            if time.monotonic() > until:
                raise PageError(f"the page never reached: {condition}")
            time.sleep(0.03)

    def picture(self) -> np.ndarray:
        """The scene alone, uint8 [h, w, 3], from the page's own screenshot function."""
        return _pixels(self.evaluate("lyra.screenshot()").split(",", 1)[1])

    def window(self) -> bytes:
        """The whole page with its controls, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def mouse(self, kind: str, x: float, y: float, **more) -> None:
        """One mouse event: mousePressed, mouseMoved, mouseReleased or mouseWheel."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, begin: tuple[float, float], end: tuple[float, float], button: str = "left", shift: bool = False):
        """Press, move in steps, release."""
        held = {"button": button, "modifiers": 8 if shift else 0}
        bit = {"left": 1, "right": 2}[button]
        self.mouse("mousePressed", *begin, clickCount=1, buttons=bit, **held)
        for step in (0.25, 0.5, 0.75, 1.0):
            x, y = (a + step * (b - a) for a, b in zip(begin, end, strict=True))
            self.mouse("mouseMoved", x, y, buttons=bit, **held)
        self.mouse("mouseReleased", *end, clickCount=1, **held)

    def click(self, x: float, y: float, count: int = 1) -> None:
        """Click `count` times in a row, a tenth of a second apart by the events' own clocks."""
        now = time.time()
        for number in range(1, count + 1):
            more = {"button": "left", "clickCount": number, "timestamp": now + 0.1 * number}
            self.mouse("mousePressed", x, y, buttons=1, **more)
            self.mouse("mouseReleased", x, y, **more)

    def touch(self, *moments: list[tuple[float, float]]) -> None:
        """Fingers at the first moment's points, moved through the others, lifted."""
        for i, points in enumerate(moments):
            fingers = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
            self.send("Input.dispatchTouchEvent", type="touchMove" if i else "touchStart", touchPoints=fingers)
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, key: str, until: str | None = None) -> None:
        """Press a key, hold it until a JavaScript condition is met, release it."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        if until is not None:
            self.wait(until)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def happened(self, method: str) -> list[dict]:
        """Parameters of all events of this kind on this page so far."""
        return [
            event["params"] for event in list(self.browser.events)
            if event["method"] == method and event.get("sessionId") == self.session
        ]  # fmt: skip


def _pixels(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
