"""A headless Chromium, controlled with the DevTools protocol, for the tests of the report and of the demo page."""

import base64
import json
import shutil
import subprocess
import time
from itertools import count
from pathlib import Path

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]


def chromium() -> str | None:
    """Returns the browser's command, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page. Use it as a context manager."""

    def __init__(self, profile: Path) -> None:
        self.process = subprocess.Popen(
            [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        import websocket

        address = next(line.split()[-1] for line in self.process.stderr if "DevTools listening" in line)
        self.numbers = count(1)
        self.socket = websocket.create_connection(address, timeout=60, max_size=None)
        self.session = None
        self.requested: list[str] = []
        self.problems: list[str] = []
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(10)

    def call(self, method: str, **parameters: object) -> dict:
        """Send a command and return its result; records the events before the response."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while (answer := self._receive()).get("id") != number:
            pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _receive(self) -> dict:
        message = json.loads(self.socket.recv())
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(message["params"]["request"]["url"])
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.problems.append(str(message["params"]))
        return message

    def open(self, page: Path | str, width: int, height: int = 900, touch: bool = False) -> None:
        """Open a local file or an address in a window of this size and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> object:
        """Returns the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 30) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)

    def choose_file(self, selector: str, file: Path) -> None:
        """Choose a file in an <input type="file">."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.call("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])

    def click(self, selector: str) -> None:
        self.drag(selector, 0.5, 0.5)

    def drag(self, selector: str, start: float, end: float) -> None:
        """Drag the mouse from the fraction `start` of an element's width to the fraction `end`."""
        box = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f" return [b.x, b.y, b.width, b.height] }})(document.querySelector({json.dumps(selector)}))"
        )
        y = box[1] + box[3] / 2
        for kind, place in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind, x=box[0] + place * box[2], y=y, button="left", buttons=1, clickCount=1,
            )  # fmt: skip

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Write the page (or its visible part) as a PNG file."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))
