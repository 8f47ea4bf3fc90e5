"""A headless browser, and results to make pages of."""

import shutil

import pytest
import torch
from report_cases import OBLIQUE, SIZE, SLICES, Browser

from mrirecon.io.arrays import plain_scan
from mrirecon.scan import Volume


@pytest.fixture
def result():
    """Makes a scan and a reconstruction of it: result("tv", std=True, reference=...)."""

    def make(
        method="tv", source="folder/a<b>.h5", seed=0, geometry=OBLIQUE, extras=(), info=(), **known
    ):
        rng = torch.Generator().manual_seed(seed)
        shape = (SLICES, 2, *SIZE)
        kspace = torch.randn(shape, dtype=torch.complex64, generator=rng)
        scan = plain_scan(source, "test", shape, lambda v, i: kspace[i], **known)
        image = torch.randn(1, SLICES, *SIZE, dtype=torch.complex64, generator=rng)
        about = {
            "method": method,
            "parameters": {"samples": 4},
            "acceleration": {"nominal": None, "achieved": 2.5},
            "seconds_per_slice": 0.123,
            "notes": ["a note & <more>"],
            **dict(info),
        }
        maps = {name: torch.rand(1, SLICES, *SIZE, generator=rng) for name in extras}
        return scan, Volume(image=image, geometry=geometry, info=about, extras=maps)

    return make


@pytest.fixture
def target():
    """References of the slices, brighter from one to the next."""
    rng = torch.Generator().manual_seed(7)
    images = [(n + 1) * torch.rand(SIZE, generator=rng) for n in range(SLICES)]
    return lambda index: images[index]


@pytest.fixture(scope="session")
def browser_driver():
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    driver_program = shutil.which("chromedriver")
    if program is None or driver_program is None:
        pytest.skip(
            "no browser: install Debian's chromium and chromium-driver to test the pages in one"
        )
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_program))
    yield driver
    driver.quit()


@pytest.fixture
def browser(browser_driver):
    browser = Browser(browser_driver)
    browser.complaints()  # of the page before
    return browser
