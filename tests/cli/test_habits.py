"""What people type from habit: short options, other names of options, `help`, lists, completion."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from mrirecon import __version__
from mrirecon.cli import COMMANDS
from mrirecon.io import read_mask
from mrirecon.masks import MASKS
from mrirecon.methods import METHODS
from mrirecon.nearest import SYNONYMS, known_as, suggest, usual_for
from mrirecon.weights import read_card, shipped_weights
from mrirecon.weights.recognise import PUBLISHED
from mrirecon.weights.store import locate

QUICK = ("--method", "zero_filled", "--slices", "0:1")


def test_short_options(mrirecon, scan_file, tmp_path):
    assert mrirecon("-V").out == f"mrirecon {__version__}\n"
    for number, given in enumerate((["-o", "{}"], ["-o{}"], ["-o={}"], ["--output", "{}"])):
        output = tmp_path / f"{number}.npy"
        args = [part.format(output) for part in given]
        assert mrirecon("recon", scan_file, *args, *QUICK).status == 0 and output.is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_by_its_name(mrirecon, command):
    by_name = mrirecon("help", *command.split())
    assert by_name.status == 0
    assert by_name.out == mrirecon(*command.split(), "--help").out
    assert "\b" not in by_name.out and not re.search(r"^  --output ", by_name.out, re.MULTILINE)
    without = ("info", "convert", "methods", "weights list", "weights info", "completion")
    assert ("  -o OUTPUT, --output OUTPUT " in by_name.out) == (command not in without)


def test_help_alone_and_of_nothing(mrirecon, refused):
    assert mrirecon("help").out == mrirecon("--help").out
    assert "did you mean recon?" in refused("help", "recn")
    assert "weights import" in mrirecon("help", "weights").out


def test_the_size_of_a_mask_in_one_word(mrirecon, refused, tmp_path):
    pairs = {"a.npy": ["64x48"], "b.npy": ["64", "48"], "c.npy": ["64X48"], "d.npy": ["64,48"]}
    for name, shape in pairs.items():
        output = tmp_path / name
        given = ("poisson", "--shape", *shape, "--accel", 3, "-o", output)
        assert mrirecon("mask", *given).status == 0
        assert read_mask(output).shape == (64, 48)
    config = tmp_path / "mask.yaml"
    config.write_text("shape: 40x32\nacceleration: 2\n")
    args = ("--config", config, "-o", tmp_path / "e.npy")
    assert mrirecon("mask", "--shape=20x10", "uniform1d", *args).status == 0
    assert read_mask(tmp_path / "e.npy").shape == (20, 10)
    assert mrirecon("mask", "uniform1d", "--config", config, "-o", tmp_path / "f.npy").status == 0
    assert read_mask(tmp_path / "f.npy").shape == (40, 32)
    for shape in (["64"], ["64x48x3"], ["64", "x"], []):
        line = refused("mask", "poisson", "--accel", 3, "-o", tmp_path / "g.npy", "--shape", *shape)
        assert "64x64" in line


def test_every_method_and_kind_is_listed_with_a_line(mrirecon):
    out = mrirecon("methods").out
    for name, about in (
        *((name, (method.__doc__ or "").partition("\n")[0]) for name, method in METHODS.items()),
        *((name, kind.about) for name, kind in MASKS.items()),
    ):
        assert len(about.split()) > 3 and "partial(" not in about
        assert re.search(rf"^  {name} +{re.escape(about)}$", out, re.MULTILINE), name


def test_weights_are_listed(mrirecon):
    out = mrirecon("weights", "list").out
    for name in shipped_weights():
        card = read_card(locate(name))
        assert re.search(rf"^  {name} +{card.network}, .*{card.licence}$", out, re.MULTILINE)
    for (network, name), known in PUBLISHED.items():
        line = rf"^  {re.escape(name)} +{network}, .*{re.escape(known['data'])}"
        assert re.search(line, out, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "tv", "--method", "cg_sense"), ["--method", "write --method tv cg_sense"]),
        (("--slices", "0:1", "--slices=1:2"), ["--slices is given twice (0:1 and 1:2)"]),
        (("--accel", 4, "--acceleration", 5), ["--acceleration is given twice (4 and 5)"]),
        (("-o", "other.npy"), ["--output is given twice", "o.npy and other.npy"]),
        (("--overwrite", "--overwrite"), ["--overwrite is given twice (alone and alone)"]),
    ],
)
def test_repeated_options_are_refused(refused, options, words):
    line = refused("recon", "s.h5", "--output", "o.npy", *options)
    assert all(word in line for word in words), line


def test_repeated_lists_are_put_together_in_the_message(refused):
    line = refused("compare", "s.h5", "-o", "c", "--methods", "tv", "--methods", "dds", "grappa")
    assert line.endswith("--methods is given twice: write --methods tv dds grappa")


@pytest.mark.parametrize(
    ("typed", "here"),
    [
        (("recon", "--iters", 7), "method.iterations"),
        (("recon", "--lambda", 7), "method.regularization"),
        (("recon", "--acc", 7), "acceleration"),
        (("recon", "--mask-seed", 7), "mask_seed"),
        (("recon", "--acs", 7), "calibration.size"),
        (("recon", "--index", 7), "volume"),
        (("convert", "--accel", 7), "acceleration"),
        (("mask", "--accel", 7), "acceleration"),
        (("train", "--learning_rate", 7), "optimizer.lr"),
        (("train", "--optimizer.learning_rate", 7), "optimizer.lr"),
        (("train", "--epochs", 7), "trainer.max_epochs"),
        (("train", "--batch-size", 7), "data.batch_size"),
    ],
)
def test_usual_names_of_options(mrirecon, typed, here):
    places = {
        "recon": ("s.h5", "-o", "o.npy", "--mask", "poisson"),
        "convert": ("s.h5", "o.h5"),
        "mask": ("poisson", "--shape", "64x64", "-o", "m.npy"),
        "train": ("--data.root", ".", "-o", "t"),
    }
    command, option, value = typed
    result = mrirecon(command, *places[command], option, value, "--print_config")
    assert result.status == 0, result.errors
    found = yaml.safe_load(result.out)
    for part in here.split("."):
        found = found[part]
    assert found == value


def test_names_in_capitals(mrirecon, scan_file, tmp_path):
    output = tmp_path / "o.npy"
    args = ("--method", "ZERO_FILLED", "--device", "CPU", "--partial_fourier=Zero")
    assert mrirecon("recon", scan_file, "-o", output, *args).status == 0
    assert json.loads((tmp_path / "o.npy.json").read_text())["method"] == "zero_filled"


def test_what_is_usual_is_known_here():
    """Every synonym stands for an option that some command has."""
    known = {name for names in SYNONYMS.values() for name in names}
    commands = ("recon", "train", "view", "convert", "mask", "evaluate")
    texts = " ".join(map(help_of, commands))
    texts += help_of("recon", "--method", "dds")
    for name in known:
        assert re.search(rf"--([a-z_]+\.)?{name}\b", texts), name


def help_of(*args):
    import io
    from contextlib import redirect_stdout, suppress

    from mrirecon.cli import main

    with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        main([*args, "--help"])
    return said.getvalue()


def test_nearest_names():
    known = ["acceleration", "method.regularization", "optimizer.lr", "optimizer.lr_end", "tv"]
    assert usual_for("lambda_", known) == "method.regularization"
    assert usual_for("optimizer.learning_rate", known) == "optimizer.lr"
    assert usual_for("trainer.learning_rate", known) is None
    assert suggest("TVV", known) == "did you mean tv?"
    assert suggest("learning_rat", known) == "did you mean optimizer.lr?"
    assert suggest("noise", ["coils", "phase"]) == "choose one of coils, phase"
    assert known_as("TV", known) == "tv" and known_as("t", known) is None


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """What bash offers for the last of some words, with the script that we print."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    pytest.importorskip("shtab")
    import io
    from contextlib import redirect_stdout, suppress

    from mrirecon.cli import main

    with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        main(["completion", "bash"])
    folder = tmp_path_factory.mktemp("completion")
    (folder / "script").write_text(said.getvalue())
    (folder / "scan.h5").touch()

    def offered(*words):
        quoted = " ".join(f"'{word}'" for word in words)
        line = (
            f"source ./script; COMP_WORDS=(mrirecon {quoted}); COMP_CWORD={len(words)}; _shtab_mrirecon; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        found = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True)
        return found.stdout.split()

    return offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("rec",), ["recon"]),
        (("weights", ""), ["list", "info", "import"]),
        (("recon", "scan.h5", "--method", "dd"), ["dds", "ddnm", "ddnm_plus", "ddrm"]),
        (("recon", "scan.h5", "--mask", "gauss"), ["gaussian1d", "gaussian2d"]),
        (("recon", "scan.h5", "--method.lev"), ["--method.levels"]),
        (("recon", "sc"), ["scan.h5", "script"]),
        (("compare", "scan.h5", "--methods", "tv", "hum"), ["humus"]),
        (("mask", "pois"), ["poisson"]),
        (("maps", "scan.h5", "--kind", ""), ["espirit", "lowres"]),
        (("recon", "--partial_fourier", "h"), ["homodyne"]),
        (("help", "inf"), ["info"]),
    ],
)
def test_bash_completes(completed, words, offered):
    assert sorted(completed(*words)) == sorted(offered)


def test_completion_of_another_shell(refused):
    assert "did you mean zsh?" in refused("completion", "zssh")
