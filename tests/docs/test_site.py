"""The site builds strictly, and what it shows comes from itself alone."""

import json
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


def test_every_picture_is_there(site):
    for page in site.rglob("*.html"):
        loaded = Loaded()
        loaded.feed(page.read_text())
        pictures = [url for url in loaded.urls if url.endswith((".png", ".webp", ".svg"))]
        for url in pictures:
            folder = site if url.startswith("/") else page.parent
            assert (folder / url.lstrip("/")).exists(), f"{page}: {url}"
        if page.parent.parent.name == "notebooks":
            assert any("images/notebooks/" in url for url in pictures), page


def test_every_method_and_command_has_a_page(site, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import command_pages

    from mrirecon.cli import COMMANDS
    from mrirecon.methods import METHODS
    from mrirecon.options import names_of

    gallery = (site / "methods" / "index.html").read_text()
    for name, kind in METHODS.items():
        assert f'<a href="{name}/"><img src="../images/methods/{name}_small.webp"' in gallery
        page = (site / "methods" / name / "index.html").read_text()
        assert f'src="../../images/methods/{name}.webp"' in page
        for option in names_of(kind):
            assert f"<dt><code>{option}</code>" in page, f"{name}: {option}"
        assert "<dd>-</dd>" not in page, f"{name}: an option without a word"
    for name in COMMANDS:
        page = (site / "reference" / "commands" / name.replace(" ", "-") / "index.html").read_text()
        assert f"mrirecon {name}" in page
        assert ("<dl>" in page) == ("\n  -" in command_pages.help_of(*name.split())), name


def test_help_becomes_pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import command_pages

    page = command_pages.page("mask")
    assert "`--seed SEED`\n:   the same seed gives the same mask (default: 0)" in page
    assert "```sh\nmrirecon mask poisson --shape 320 320" in page
    assert page.count("## Examples") == 1 and "\b" not in page


def test_pages_show_no_markers(site):
    for page in site.rglob("*.html"):
        assert not re.search(r"\\(&lt;|[|*_])", page.read_text()), f"{page}: a visible backslash"
        assert not re.search(r"<!-- (gallery|every sampler|record |end record)", page.read_text())


def test_search_finds_what_people_look_for(site):
    from mrirecon.methods import METHODS

    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]

    def pages(word):
        word = word.lower()
        found = [e["location"] for e in entries if word in f"{e['title']} {e['text']}".lower()]
        return {location.partition("#")[0] for location in found}

    for name in METHODS:
        assert f"methods/{name}/" in pages(name)
    for option in (
        "regularization",
        "center_fraction",
        "--overwrite",
        "cg_steps",
        "--compress_coils",
    ):
        assert pages(option), option
    for word, page in {
        "undersample": "howto/undersample/",
        "DICOM": "formats/",
        "left-out": "left-out/",
        "ESPIRiT": "reference/commands/maps/",
        "GPU": "which-method/",
        "error bars": "which-method/",
    }.items():
        assert page in pages(word), word


def test_reference_shows_every_public_name(site):
    import mrirecon

    text = "".join(page.read_text() for page in (site / "reference" / "python").rglob("*.html"))
    shown = set(re.findall(r'id="mrirecon(?:\.\w+)*\.(\w+)"', text))
    told = set(re.findall(r"mr\.(\w+)", text))
    assert set(mrirecon.__all__) <= shown | told
    for sampler in mrirecon.samplers.SAMPLERS:
        assert f'id="mrirecon.diffusion.samplers.{sampler}"' in text, sampler
