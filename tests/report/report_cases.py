"""What tests of pages and pictures share: sizes, pixels, and the browser as they use it."""

import base64
import io
import json
import time

import numpy as np
from PIL import Image

from mrirecon.geometry import Geometry

SIZE = (10, 8)
SLICES = 3
OBLIQUE = Geometry(  # readout to the left, phase to posterior, both turned by 20 degrees about the body's axis
    voxel_mm=(2.0, 3.0, 4.0),
    directions=((0.9396926, 0.3420201, 0.0), (-0.3420201, 0.9396926, 0.0), (0.0, 0.0, 1.0)),
    centers_mm=tuple((1.0, 2.0, 4.0 * n) for n in range(SLICES)),
)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


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

    def canvas(self, number=0):
        """The pixels of one of the page's canvases."""
        url = self.run(
            "return document.querySelectorAll('canvas')[arguments[0]].toDataURL('image/png')",
            number,
        )
        return pixels(base64.b64decode(url.partition(",")[2]))

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
