"""Drives a real Chromium over its DevTools protocol, for tests of pages: real clicks and pointers,
any width, dark and print."""

import asyncio
import base64
import json
import shutil
import subprocess
import time
import urllib.request

from tornado.websocket import websocket_connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SECONDS = 60  # that anything may take

# how many texts a page has, how far it is too wide, and which texts are under 12 pixels or have a
# contrast under 4.5 (WCAG 2.2); letters of a picture are measured as they are seen
LOOK = """(() => {
  const texts = [...document.querySelectorAll("body *")].filter((e) => e.tagName !== "title" &&
    e.getClientRects().length && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (c) => {
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = c.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const contrast = (e) => {
    const style = getComputedStyle(e);
    const picture = e.ownerSVGElement;
    const turned = picture && getComputedStyle(picture).filter !== "none";  // dark: as a negative
    const drawn = rgb(picture ? style.fill : style.color);
    const ink = turned ? drawn.slice(0, 3).map((v) => 255 - v) : drawn;
    const both = [light(ink), light(ground(e))];
    const [low, high] = both.sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const onImage = (e) => e.ownerSVGElement && e.ownerSVGElement.querySelector("image")
    && getComputedStyle(e).fill === "rgb(255, 255, 255)";
  const size = (e) => parseFloat(getComputedStyle(e).fontSize)
    * (e.ownerSVGElement ? Math.abs(Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b)) : 1);
  const name = (e) => `${e.tagName} ${e.textContent.trim().slice(0, 30)}`;
  return {
    texts: texts.length,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    small: texts.filter((e) => size(e) < 11.99).map(name),
    faint: texts.filter((e) => !onImage(e) && contrast(e) < 4.5).map(name),
  };
})()"""


class Browser:
    """One page of a browser of its own; `faults` are the errors of the page's scripts so far."""

    def __init__(self, profile):
        self.faults = []
        self._number = 0
        self._loop = asyncio.new_event_loop()
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "about:blank"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            port = self._wait(lambda: (profile / "DevToolsActivePort").read_text().split()[0])
            self._socket = self._run(self._connect(port))
        except BaseException:
            self._process.kill()
            raise
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        self._process.terminate()
        self._process.wait(SECONDS)
        self._loop.close()

    def _run(self, what):
        return self._loop.run_until_complete(asyncio.wait_for(what, SECONDS))

    @staticmethod
    def _wait(what):
        end = time.monotonic() + SECONDS
        while True:
            try:
                return what()
            except (OSError, IndexError, StopIteration):
                assert time.monotonic() < end, "Chromium does not start"
                time.sleep(0.1)

    async def _connect(self, port):
        def targets():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                return next(t for t in json.load(answer) if t["type"] == "page")

        address = self._wait(targets)["webSocketDebuggerUrl"]
        return await websocket_connect(address, max_message_size=1 << 28)

    def call(self, method, **parameters):
        """One command of the protocol."""
        self._number += 1
        text = json.dumps({"id": self._number, "method": method, "params": parameters})
        return self._run(self._answer(text, self._number))

    async def _answer(self, text, number):
        await self._socket.write_message(text)
        while True:
            message = json.loads(await self._socket.read_message())
            if message.get("id") == number:
                assert "error" not in message, (text[:200], message["error"])
                return message["result"]
            if message["method"] == "Runtime.exceptionThrown":
                self.faults.append(message["params"]["exceptionDetails"])
            entry = message["params"].get("entry", {})
            if message["method"] == "Log.entryAdded" and entry["level"] == "error":
                self.faults.append(entry)

    def value(self, expression):
        """The value of a JavaScript expression."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression):
        """Waits until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def look(self, width, height=900, dark=False, media="screen"):
        """Sets width and height of the window, the colour scheme, and screen or print."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def middle(self, selector):
        """(x, y) of the middle of an element, scrolled into sight."""
        return self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )

    def point(self, x, y, click=False):
        """Moves the pointer to a place, and clicks there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def follow(self, selector):
        """Clicks a link and waits for its page."""
        before = self.value("location.href")
        self.point(*self.middle(selector), click=True)
        self.until(f"location.href !== {json.dumps(before)} && document.readyState === 'complete'")

    def picture(self, path):
        """Saves what is seen, the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
