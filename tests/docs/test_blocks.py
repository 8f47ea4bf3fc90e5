"""Every code block of the documentation runs, or says why it does not and is parsed."""

import re

import pytest
import yaml
from blocks import (
    FENCE,
    FEWER,
    PAGES,
    ROOT,
    SMALLER,
    blocks,
    check_data,
    parse_shell,
    run_python,
    run_shell,
)

from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods import METHODS
from mrirecon.training.core.trainer import quiet

LANGUAGES = {"sh", "python", "yaml", "json", "text", "mermaid"}
WITH_BLOCKS = [page for page in PAGES if blocks(page)]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_are_fenced_with_their_language(page):
    text = page.read_text()
    assert text.count("```") == 2 * len(blocks(page)), "a fence is not at the start of its line"
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: ```{block.language}"
        assert block.reason is None or len(block.reason.split()) > 1, f"{block}: say why"
    rest = FENCE.sub("", text)
    assert not re.search(r"^ {4,}\S.*=", rest, re.MULTILINE), "code by indentation: fence it"
    assert "<!-- not run" not in rest, "a comment must stand right above its block"


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name)
def test_blocks_of_a_page_run(page, page_folder, capsys):
    names = {"__name__": "page"}
    with quiet():
        for block in blocks(page):
            try:
                if block.language == "sh":
                    run_shell(block.text, capsys) if block.reason is None else parse_shell(
                        block.text
                    )
                elif block.language == "python" and block.reason is None:
                    run_python(block, names)
                elif block.language == "python":
                    compile(block.text, str(block), "exec")
                else:
                    check_data(block)
            except BaseException as error:
                error.add_note(f"in {block}")
                raise


def test_every_method_is_explained():
    docs = ROOT / "docs"
    notes = yaml.safe_load((docs / "method_notes.yaml").read_text())
    theory = (docs / "sampler-theory.md").read_text()
    assert set(notes["methods"]) == set(METHODS)
    for name, note in notes["methods"].items():
        assert note["family"] in notes["families"] and note["title"] and note["when"], name
        assert ("formula" in note) == (name not in SAMPLERS), name
    for sampler in SAMPLERS:
        assert f"\n| `{sampler}` |" in theory, sampler
        assert f"\n**`{sampler}`** (" in theory, sampler


def test_what_is_made_smaller_is_there():
    text = "\n".join(page.read_text() for page in PAGES)
    assert all(big in text for big in [*SMALLER, *FEWER])
