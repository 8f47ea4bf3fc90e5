"""What tests of pages and pictures share: sizes, pixels, and the browser as they use it."""

import base64
import gzip
import io
import json
import re
import time

import numpy as np
from PIL import Image

from mrirecon.geometry import Geometry

KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Escape": 27,
    "Enter": 13,
}
SIZE = (10, 8)
SLICES = 3
OBLIQUE = Geometry(  # readout to the left, phase to posterior, both turned by 20 degrees about the body's axis
    voxel_mm=(2.0, 3.0, 4.0),
    directions=((0.9396926, 0.3420201, 0.0), (-0.3420201, 0.9396926, 0.0), (0.0, 0.0, 1.0)),
    centers_mm=tuple((1.0, 2.0, 4.0 * n) for n in range(SLICES)),
)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


def unpacked(data):
    """The whole numbers that `packed` put into text: all low bytes, then all high bytes."""
    low, high = np.frombuffer(gzip.decompress(base64.b64decode(data)), np.uint8).reshape(2, -1)
    return low.astype(np.uint16) + 256 * high.astype(np.uint16)


def stacks_of(path, number=0):
    """Values of the pictures that a report holds of a scan: "card-kind" -> (place, row, column)."""
    text = path.read_text(encoding="utf-8")
    about = json.loads(re.findall(r'class="about">(.*?)</script>', text)[number])
    found = {}
    for card, kind, data in re.findall(rf'data-stack="{number}-(\d+)-(\w+)">(.*?)</script>', text):
        known = about["cards"][int(card)]["stacks"][kind]
        steps = unpacked(data).reshape(-1, *about["size"]).astype(float)
        steps[steps == 65535] = np.nan
        low, high = (np.array(known[end])[:, None, None] for end in ("lows", "highs"))
        found[f"{card}-{kind}"] = low + steps * (high - low) / known["steps"]
    return about, found


class Browser:
    """Chromium without a screen, which remembers what pages asked for and complained about."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, *, width=1400, height=900, dark=False, media="screen"):
        mobile = width < 600
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = {"media": media, "features": [scheme]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        self.driver.get(path.as_uri())

    def run(self, script, *args):
        return self.driver.execute_script(script, *args)

    def until(self, script):
        """Wait until an expression holds."""
        for _ in range(200):
            if self.run(f"return Boolean({script})"):
                return
            time.sleep(0.05)
        raise AssertionError(f"never: {script}; console: {self.driver.get_log('browser')}")

    def set(self, selector, value):
        """Move a slider or tick a box as a user does, with the event."""
        self.run(
            "const e = document.querySelector(arguments[0]);"
            "if (e.type === 'checkbox') e.checked = arguments[1]; else e.value = arguments[1];"
            "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true}));",
            selector,
            value,
        )

    def press(self, selector, key):
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(key)

    def picture(self, selector):
        """What an element looks like now, as pixels."""
        from selenium.webdriver.common.by import By

        return pixels(self.driver.find_element(By.CSS_SELECTOR, selector).screenshot_as_png)

    def canvas(self, number=0, selector="canvas"):
        """The pixels of one of the page's canvases, when all that is to be drawn is."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));"
        )
        url = self.run(
            "return document.querySelectorAll(arguments[1])[arguments[0]].toDataURL('image/png')",
            number,
            selector,
        )
        return pixels(base64.b64decode(url.partition(",")[2]))

    def shown(self, size, number=0, selector="canvas"):
        """What a canvas shows at the centres of pixels, of a picture of `size` that fills it."""
        picture = self.canvas(number, selector)
        places = [
            ((np.arange(n) + 0.5) / n * length).astype(int)
            for n, length in zip(size, picture.shape, strict=False)
        ]
        return picture[np.ix_(*places)]

    def where(self, selector, share=(0.5, 0.5), number=0):
        """A point of an element in the window, after it was brought there."""
        box = self.run(
            "const e = document.querySelectorAll(arguments[0])[arguments[1]];"
            "const inside = (b) => b.top >= 0 && b.bottom <= innerHeight;"
            "if (!inside(e.getBoundingClientRect())) e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height];",
            selector,
            number,
        )
        return [box[n] + share[n] * box[2 + n] for n in (0, 1)]

    def mouse(self, kind, place, **more):
        """One event of a real pointer: mouseMoved, mousePressed, mouseReleased or mouseWheel."""
        event = {"type": kind, "x": place[0], "y": place[1], **more}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def drag(self, selector, start, end, number=0, **more):
        """Press at a share of an element's width and height, move to another, and release."""
        first, last = (self.where(selector, share, number) for share in (start, end))
        held = {"button": "left", "buttons": 1, "clickCount": 1, **more}
        self.mouse("mousePressed", first, **held)
        for part in (0.5, 1.0):
            place = [a + part * (b - a) for a, b in zip(first, last, strict=True)]
            self.mouse("mouseMoved", place, **held)
        self.mouse("mouseReleased", last, **held)

    def click(self, selector, share=(0.5, 0.5), number=0):
        place = self.where(selector, share, number)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, place, button="left", clickCount=1)

    def wheel(self, selector, by, number=0, **more):
        self.mouse("mouseWheel", self.where(selector, number=number), deltaX=0, deltaY=by, **more)

    def fingers(self, selector, *moves):
        """Touch: each move is a list of points, shares of the element."""
        for kind, points in zip(
            ("touchStart", *["touchMove"] * (len(moves) - 1), "touchEnd"), (*moves, ()), strict=True
        ):
            touched = [
                dict(zip("xy", self.where(selector, point), strict=True)) for point in points
            ]
            event = {"type": kind, "touchPoints": touched}
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    def key(self, key, kinds=("keyDown", "keyUp"), **more):
        """Press and release a key wherever the focus is; or one of both."""
        code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        for kind in kinds:
            event = {"type": kind, "key": key, "windowsVirtualKeyCode": code, **more}
            if kind == "keyDown" and (len(key) == 1 or key == "Enter"):
                event["text"] = "\r" if key == "Enter" else key
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", event)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def texts(self, selector):
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())",
            selector,
        )

    def brightness(self):
        """Of the page's background, 0 to 255."""
        colour = self.run("return getComputedStyle(document.body).backgroundColor")
        return np.mean([int(part) for part in colour[4:-1].split(",")])

    def overflow(self):
        """By how much the page is wider than the window."""
        return self.run("return document.documentElement.scrollWidth - innerWidth")

    def complaints(self):
        """Errors and warnings on the console, and requests for anything but the page and what it holds."""
        found = [entry["message"] for entry in self.driver.get_log("browser")]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith(("file:", "data:", "blob:", "chrome")):
                    found.append(f"request: {url}")
        return found
