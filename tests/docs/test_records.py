"""What pages quote is what the records say, and the records are what the code gives today."""

import re
import sys

import pytest
from blocks import ROOT

from mrirecon.benchmark.lesions import figures_of
from mrirecon.masks import MASKS
from mrirecon.methods import METHODS

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import choice_figures  # noqa: E402
import lesion_figures  # noqa: E402
import mask_figures  # noqa: E402
import method_figures  # noqa: E402
import records  # noqa: E402

NAMES = sorted(path.stem for path in records.FOLDER.glob("*.json"))
QUICK = ("zero_filled", "cg_sense", "tv", "unet", "unrolled_prior", "dds")


@pytest.mark.parametrize("page", records.pages(), ids=lambda page: page.name)
def test_pages_quote_their_records(page):
    text = page.read_text("utf-8")
    assert text == records.filled(text), "run `python docs/figures.py text`"
    assert text.count("<!-- record ") == len(records.QUOTED.findall(text))


def test_a_changed_number_is_noticed():
    text = "<!-- record heldout/errors -->\n| `tv` | 0.1 |\n<!-- end record -->"
    assert "0.1 |" not in records.filled(text) and "0.262" in records.filled(text)
    with pytest.raises(ValueError, match="heldout/nothing: no such record"):
        records.filled("<!-- record heldout/nothing --><!-- end record -->")


@pytest.mark.parametrize("name", NAMES)
def test_records_say_how_they_were_made(name):
    record = records.read(name)
    assert len(record.what.split()) > 5 and record.script and record.data and record.made
    assert record.numbers or record.tables
    for table in record.tables.values():
        assert table["rows"] and all(len(row) == len(table["head"]) for row in table["rows"])
    if record.data == "embedded":
        assert record.script == f"python docs/figures.py {name}" and record.tolerance
    else:
        assert record.tolerance is None and set(record.made) >= {"date", "commit", "versions"}
    for script in re.findall(r"measurements/\w+\.py|configs/[\w/]+\.yaml", record.script):
        assert (ROOT / script).exists(), script


def test_everything_is_quoted():
    texts = [page.read_text("utf-8") for page in records.pages()]
    quoted = {found["key"] for text in texts for found in records.QUOTED.finditer(text)}
    kept = {name: records.read(name) for name in NAMES}
    assert quoted == {f"{n}/{key}" for n, one in kept.items() for key in (*one.tables, *one.texts)}


def test_masks_are_those_of_the_record():
    numbers = records.read("masks").numbers
    drawn = {name: mask_figures.fingerprint(mask) for name, mask in mask_figures.pictures().items()}
    assert drawn == numbers["sha256"] and set(numbers["achieved"]) == set(MASKS)
    assert all((mask_figures.FOLDER / f"{name}.png").exists() for name in drawn)


@pytest.mark.parametrize("name", QUICK)
def test_methods_give_what_the_record_says(name):
    record = records.read("methods")
    [(_, found, _)] = method_figures.measure([name])
    for mask, numbers in found.items():
        for metric, tolerance in record.tolerance.items():
            told = record.numbers[name][mask][metric]
            assert numbers[metric] == pytest.approx(told, abs=tolerance), f"{mask}: {metric}"
        assert numbers["evaluations"] == record.numbers[name][mask]["evaluations"]


def test_regular_sampling_gives_what_the_record_says():
    record = records.read("regular")
    found = method_figures.spaced(method_figures.embedded(), "cg_sense")
    for spacing, numbers in found.items():
        for metric, value in numbers.items():
            told = record.numbers["cg_sense"][spacing][metric]
            assert value == pytest.approx(told, abs=record.tolerance[metric]), spacing


@pytest.mark.parametrize("name", ["zero_filled", "cg_sense"])
def test_lesions_are_kept_as_the_record_says(name):
    record, scan = records.read("lesion_example"), method_figures.embedded()
    *_, found = lesion_figures.judged(scan, lesion_figures.edited(scan), name)
    told = record.numbers[name]["kept"]
    assert figures_of([found])["kept"] == pytest.approx(told, abs=record.tolerance["kept"])


def test_example_says_what_it_printed():
    text = (ROOT / "examples" / "uncertainty.py").read_text("utf-8")
    said = records.read("examples").texts
    assert f"correlations were {said['rank_correlation']} and" in text
    assert f"truth in {said['covered']} of" in text


def test_choice_is_picked_from_the_records():
    assert choice_figures.record() == records.read("choice")


def test_every_method_has_numbers_and_small_pictures():
    assert set(records.read("methods").numbers) == set(METHODS)
    pictures = list(method_figures.FOLDER.glob("*.webp"))
    assert {path.stem.removesuffix("_small") for path in pictures} == {*METHODS, "reference"}
    assert len(pictures) == 2 * len(METHODS) + 1
    assert sum(path.stat().st_size for path in pictures) < 1_000_000
