"""The site builds strictly, and what it shows comes from itself alone."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from blocks import ROOT

pytest.importorskip("material")
pytest.importorskip("mkdocstrings")


class Loaded(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed", "object"):
            self.urls += [values[key] for key in ("src", "srcset", "data") if values.get(key)]
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev", "edit"):
            self.urls.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_is_loaded_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.urls
        for url in loaded.urls:
            assert not re.match(r"(https?:)?//", url), f"{page.name} loads {url}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text()
        assert "@import" not in text and not re.search(r"url\([\"']?(https?:)?//", text)


def test_reference_shows_every_public_name(site):
    import mrirecon

    text = (site / "reference" / "python" / "index.html").read_text()
    shown = set(re.findall(r'id="mrirecon(?:\.\w+)*\.(\w+)"', text))
    told = set(re.findall(r"mr\.(\w+)", text))
    assert set(mrirecon.__all__) <= shown | told
    for sampler in mrirecon.samplers.SAMPLERS:
        assert f'id="mrirecon.diffusion.samplers.{sampler}"' in text, sampler
