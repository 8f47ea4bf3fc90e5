"""Help, versions, YAML files and wrong options."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import yaml

from mrirecon import __version__
from mrirecon.cli import COMMANDS
from mrirecon.masks import MASKS
from mrirecon.methods import METHODS
from mrirecon.methods.classical import CGSense
from mrirecon.methods.registry import options_of
from mrirecon.networks import PRESETS


def test_a_network_needs_no_presets(mrirecon, monkeypatch):
    monkeypatch.delitem(PRESETS, "unet")
    result = mrirecon("train", "--network", "unet", "--help")
    assert result.status == 0 and "--network.preset " not in " ".join(result.out.split())


def test_help_lists_the_commands(mrirecon):
    for args in ((), ("--help",), ("-h",)):
        result = mrirecon(*args)
        assert result.status == 0 and not result.errors
        assert all(f"  {name} " in result.out for name in COMMANDS)


def test_version(mrirecon):
    assert mrirecon("--version").out == f"mrirecon {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_reads_well(mrirecon, command):
    result = mrirecon(*command.split(), "--help")
    assert result.status == 0 and not result.errors
    assert result.out.startswith(f"usage: mrirecon {command} ")
    assert "--config FILE.yaml" in result.out and "--debug" in result.out
    for noise in ("Literal", "CONFIG", "==SUPPRESS==", "type:", "null", "Path to a configuration"):
        assert noise not in result.out
    assert max(map(len, result.out.splitlines())) <= 130


def test_help_of_recon_shows_the_methods_and_their_options(mrirecon):
    text = mrirecon("recon", "--help").out
    assert (
        "--method NAME" in text and "--method.name" not in text and "--calibration.kind" not in text
    )
    assert all(name in text for name in METHODS)
    for name, method in METHODS.items():
        text = mrirecon("recon", "--method", name, "--help").out
        own = set(method().parameters())
        shown = {line.split()[0] for line in text.splitlines() if line.startswith("  --method.")}
        assert shown == {f"--method.{option}" for option in own}


@pytest.mark.parametrize("name", METHODS)
def test_help_says_something_of_every_option_of_a_method(mrirecon, name):
    text = mrirecon("recon", "--method", name, "--help").out
    said = dict(re.findall(r"^  --method\.(\w+) (.*?)(?=^  --|^$)", text, re.MULTILINE | re.DOTALL))
    hints = get_type_hints(METHODS[name])
    for option in options_of(name):
        about = " ".join(said[option].split())
        assert re.search(r"[a-z]{3}", re.sub(r"\(default: .*?\)", "", about.partition(" ")[2])), (
            about
        )
        if get_origin(hints[option]) is Literal:
            assert about.startswith("{" + ",".join(get_args(hints[option])) + "}"), about


def test_help_of_mask_lists_the_kinds(mrirecon):
    text = " ".join(mrirecon("mask", "--help").out.split())
    assert all(kind in text for kind in MASKS)


def test_help_does_not_import_torch():
    code = (
        "import sys; from mrirecon.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({'torch', 'numpy', 'jsonargparse'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_module_runs_like_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "mrirecon", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"mrirecon {__version__}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("recn",), ["recn", "did you mean recon?"]),
        (("--overwrite",), ["--overwrite", "recon"]),
        (("recon",), ["SCAN", "--output"]),
        (("recon", "s.h5"), ["--output"]),
        (("info",), ["SCAN"]),
        (("convert", "a", "b.h5", "c"), ["c", "one word too many"]),
        (("info", "a", "--device"), ["--device"]),
        (("recon", "s.h5", "--output", "o.npy", "--methd", "tv"), ["--methd", "--method"]),
        (("recon", "s.h5", "--output", "o.npy", "--method", "tvv"), ["tvv", "did you mean tv?"]),
        (("recon", "s.h5", "--output", "o.npy", "--method"), ["method", "tv", "grappa"]),
        (
            ("recon", "s.h5", "--output", "o.npy", "--method.iteration", "3"),
            ["--method.iteration", "did you mean --method.iterations?"],
        ),
        (
            ("recon", "s.h5", "--output", "o.npy", "--method", "tv", "--method.levels", "3"),
            ["--method.levels", "there are --method.regularization, ", "--method.isotropic"],
        ),
        (
            ("recon", "s.h5", "--output", "o.npy", "--method.iterations", "x"),
            ["'x'", "whole number"],
        ),
        (
            ("recon", "s.h5", "--output", "o.npy", "--accel", "fast"),
            ["--accel", "'fast'", "number"],
        ),
        (("recon", "s.h5", "--output", "o.npy", "--overwrite=7"), ["--overwrite", "true or false"]),
        (
            ("recon", "s.h5", "--output", "o.npy", "--partial_fourier", "some"),
            ["--partial_fourier", "zero, homodyne, pocs"],
        ),
        (("recon", "s.h5", "--output", "o.npy", "--device", "tpu"), ["--device", "cpu"]),
        (
            ("recon", "s.h5", "--output", "o.npy", "--maps.sets", "2"),
            ["unknown option --maps.sets", "did you mean --calibration.sets?"],
        ),
        (
            ("recon", "s.h5", "--output", "o.npy", "--slices.start=2"),
            ["--slices.start", "--slices?"],
        ),
        (("recon", "", "--output", "o.npy"), ["folder"]),
        (("info", "x" * 300 + ".h5"), ["xxx.h5", "File name too long", "shorter"]),
        (
            ("mask", "poisson", "--shape", 8, 8, "--accel", 2, "--output", "x" * 260 + ".npy"),
            ["longer than"],
        ),
        (("mask", "poison", "--shape", 8, 8, "--accel", 2, "--output", "m.npy"), ["poisson?"]),
        (("mask", "poisson", "--shape", 8, "--accel", 2, "--output", "m.npy"), ["--shape"]),
        (("mask", "poisson", "--shape", 8, 8, "--accel", 2, "--output", "m.tif"), [".npy", ".png"]),
        (("mask", "poisson", "--shape", -8, 8, "--accel", 2, "--output", "m.npy"), ["-8"]),
        (("evaluate", "a", "b", "--protocol", "best"), ["--protocol", "dds-minmax"]),
        (("demo", "extra"), ["extra"]),
        (("demo", "--slices", "30:31"), ["30:31"]),
    ],
)
def test_bad_usage_is_one_line(refused, args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(*args)
    assert all(word in line for word in words), line
    assert not [path for path in tmp_path.iterdir() if path.name != "demo"]


def test_debug_shows_the_traceback(capsys, mrirecon, tmp_path):
    result = mrirecon("info", tmp_path / "none.h5", "--debug")
    assert result.status == 2
    assert result.errors[0].startswith("Traceback") and "no such file" in result.errors[-1]


@pytest.mark.parametrize(
    "command", ["info", "mask", "convert", "evaluate", "simulate", "maps", "demo", "view"]
)
def test_print_config_of_every_command_is_yaml(mrirecon, command):
    given = {
        "info": ("s.h5",),
        "mask": ("poisson", "--shape", 8, 6, "--accel", 2, "--output", "m.npy"),
        "convert": ("a.h5", "b.npy"),
        "evaluate": ("a.npy", "b.npy"),
        "simulate": ("a.nii", "--output", "b.h5"),
        "maps": ("a.h5", "--output", "b.npy"),
        "demo": (),
        "view": ("a.nii", "b.nii", "--overlay", "c.nii"),
    }
    result = mrirecon(command, *given[command], "--print_config")
    assert result.status == 0 and not result.errors
    settings = yaml.safe_load(result.out)
    assert isinstance(settings, dict) and "debug" not in settings and "config" not in settings


def test_printed_config_does_the_same(mrirecon, scan_file, tmp_path):
    output = tmp_path / "o.npy"
    typed = (scan_file, "--output", output, "--method", "cg_sense", "--method.iterations", 3)
    typed += ("--calibration.size", 12, "--slices", "1:2")
    printed = mrirecon("recon", *typed, "--print_config").out
    settings = yaml.safe_load(printed)
    expected = {"name": "cg_sense", **CGSense().parameters(), "iterations": 3}
    assert settings["method"] == expected
    assert settings["calibration"]["size"] == 12 and settings["scan"] == [str(scan_file)]
    assert not output.exists()
    config = tmp_path / "c.yaml"
    config.write_text(printed)
    assert mrirecon("recon", "--config", config).status == 0
    again = mrirecon("recon", *typed)
    assert again.status == 0 and "skipped" in again.out
    assert mrirecon("recon", "--config", config, "--print_config").out == printed


@pytest.mark.parametrize(
    "given",
    [
        ("recon", "s.h5", "--output", "o.npy", "--mask", "poisson"),
        ("mask", "poisson", "--shape", 8, 6, "--output", "m.npy"),
    ],
)
def test_accel_is_short_for_acceleration(mrirecon, given):
    long, short = (
        mrirecon(*given, option, 2, "--print_config") for option in ("--acceleration", "--accel")
    )
    assert long.status == 0 and long.out == short.out
    assert yaml.safe_load(long.out)["acceleration"] == 2
    assert "--acceleration" in mrirecon(given[0], "--help").out


@pytest.mark.parametrize("scan_as", [str, lambda path: [str(path)]])
def test_short_form_of_the_method_in_yaml(mrirecon, scan_file, tmp_path, scan_as):
    config, output = tmp_path / "c.yaml", tmp_path / "o.npy"
    settings = {"scan": scan_as(scan_file), "output": str(output), "method": "adjoint"}
    config.write_text(yaml.safe_dump({**settings, "slices": "0:1"}))
    assert mrirecon("recon", "--config", config).status == 0
    assert json.loads((tmp_path / "o.npy.json").read_text())["method"] == "adjoint"


def test_what_is_typed_wins_over_yaml(mrirecon, scan_file, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(
        "output: never.npy\nslices: '0:1'\nmethod: {name: cg_sense, iterations: 7, tolerance: 1e-3}\n"
    )
    for order in (0, 2):
        args = [scan_file, "--output", "o.npy", "--print_config"]
        args[order:order] = ["--config", config]
        if order == 2:
            args = [scan_file, "--config", config, "--output", "o.npy", "--print_config"]
        settings = yaml.safe_load(mrirecon("recon", *args).out)
        assert settings["output"] == "o.npy" and settings["slices"] == "0:1"
        assert settings["method"]["iterations"] == 7 and settings["method"]["tolerance"] == 1e-3
    args = (scan_file, "--output", "o.npy", "--config", config, "--print_config")
    same = yaml.safe_load(mrirecon("recon", *args, "--method.iterations", 2).out)["method"]
    assert same["iterations"] == 2 and same["tolerance"] == 1e-3
    other = yaml.safe_load(mrirecon("recon", *args, "--method", "tv").out)["method"]
    assert other["name"] == "tv" and "tolerance" not in other and other["iterations"] != 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("methodd: tv", ["methodd", "did you mean --method?"]),
        ("slicess: '1:2'", ["slicess", "did you mean --slices?"]),
        ("method: {name: cg_sense, iteration: 3}", ["--method.iteration", "--method.iterations?"]),
        ("method: {name: cg_sense, iterations: many}", ["--method.iterations", "'many'", "number"]),
        ("method: tvv", ["tvv", "did you mean tv?"]),
        ("method: [1, 2]", ["[1, 2]", "grappa"]),
        ("method: {name: 3}", ["3", "grappa"]),
        ("calibration: {siz: 3}", ["calibration.siz", "did you mean --calibration.size?"]),
        ("calibration: 3", ["calibration", "3", "calibration.size"]),
        ("calibration: {size: big}", ["calibration.size", "'big'", "whole number"]),
        ("calibration: {kernel: 0}", ["kernel", "0"]),
        ("mask_seed: x", ["mask_seed", "'x'", "whole number"]),
        ("overwrite: maybe", ["overwrite", "'maybe'", "true or false"]),
        ("scan: [s.h5", ["c.yaml", "line 1"]),
        ("just text", ["c.yaml", "no options"]),
        ("- a\n- b", ["c.yaml", "no options"]),
        ("", ["c.yaml", "no options"]),
        ("a: b: c", ["c.yaml", "line 1"]),
        ("!!python/object:os.system {}", ["c.yaml"]),
        ("a: &a [*a]", ["c.yaml", "within itself"]),
        ("a: " + "[" * 3000 + "]" * 3000, ["c.yaml", "nested too deeply"]),
        ("slices: 2024-13-45", ["c.yaml"]),
        ("mask: {class_path: evil.X}", ["c.yaml", "class_path", "plain values"]),
        ("method: {name: tv, options: [{class_path: evil.X}]}", ["c.yaml", "class_path"]),
    ],
)
def test_bad_yaml_is_one_line(refused, text, words, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(text)
    line = refused("recon", "s.h5", "--output", tmp_path / "o.npy", "--config", config)
    assert all(word in line for word in words), line
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_aliases_that_stand_for_too_much(refused, tmp_path):
    """Each line stands for nine times the last; what is merely used twice is read."""
    names = "abcdefghi"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise(names)]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    line = refused("recon", "s.h5", "--output", "o.npy", "--config", tmp_path / "c.yaml")
    assert "c.yaml: its aliases stand for too much" in line
    (tmp_path / "c.yaml").write_text("calibration: &a {size: 3}\ntuning: *a")
    line = refused("recon", "s.h5", "--output", "o.npy", "--config", tmp_path / "c.yaml")
    assert "--tuning.size" in line
    (tmp_path / "c.yaml").write_text("x: 1\n" * 60_000)
    assert "larger than" in refused("info", "s.h5", "--config", tmp_path / "c.yaml")


TABLE = ("benchmark", "--output", "t", "--scans", "s.h5", "--methods", '[{"method": "tv"}]')
EVIL = '{"class_path": "evil.X"}'
GOOD = '[{"kind": "poisson", "acceleration": 4}]'


@pytest.mark.parametrize(
    "args",
    [
        (*TABLE, "--masks", f'[{{"kind": {EVIL}, "acceleration": 4}}]'),
        (*TABLE, "--masks", f"[{EVIL}]"),
        (*TABLE, "--masks.class_path", "evil.X"),
        (*TABLE, "--masks", GOOD, "--calibration", EVIL),
        (*TABLE, "--masks", GOOD, "--calibration", "evil.X"),
        (*TABLE, "--masks", GOOD, "--weights", EVIL),
        (*TABLE[:-1], f'[{{"method": "tv", "options": {EVIL}}}]', "--masks", GOOD),
        (
            "train",
            "--output",
            "t",
            "--data.root",
            ".",
            "--data.masks",
            f'[{{"kind": {EVIL}, "acceleration": 4}}]',
        ),
        ("train", "--output", "t", "--data.root", ".", "--data.masks", GOOD, "--loss", EVIL),
        ("recon", "s.h5", "--output", "o.npy", "--calibration.class_path", "evil.X"),
        ("recon", "s.h5", "--output", "o.npy", "--method.class_path", "evil.X"),
    ],
)
def test_no_option_imports_a_module(mrirecon, args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('IMPORTED', 'w').close()\nclass X: pass\n")
    result = mrirecon(*args)
    assert result.status == 2 and len(result.errors) == 1, result.errors
    assert "set_parsing_settings" not in result.errors[0]
    assert [path.name for path in tmp_path.iterdir()] == ["evil.py"]


@pytest.mark.parametrize("name", ["none.yaml", "", ".", "binary.yaml"])
def test_unreadable_yaml(refused, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\x00\xff\xfe")
    assert "yaml" in refused("info", "--config", name) or name in ("", ".")


def test_an_error_of_ours_is_said_to_be_one(mrirecon, scan_file, monkeypatch):
    from mrirecon.cli import info

    monkeypatch.setattr(info, "read_scan", lambda *scan: {}["nothing"])
    result = mrirecon("info", scan_file)
    assert result.status == 2 and len(result.errors) == 1
    assert "a mistake in mrirecon" in result.errors[0] and "KeyError" in result.errors[0]


def test_interrupted(mrirecon, scan_file, monkeypatch):
    from mrirecon.cli import info

    def interrupt(*scan):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "read_scan", interrupt)
    result = mrirecon("info", scan_file)
    assert result.status == 130 and result.errors == ["mrirecon info: interrupted"]


@pytest.mark.parametrize(("policy", "turns"), [(None, "1000"), ("ACTIVE", None)])
def test_waiting_threads_sleep_unless_someone_says_otherwise(policy, turns):
    """In a process of its own: PyTorch must not have been loaded before the environment says so."""
    code = """if True:
        import os, sys
        from mrirecon.cli import main
        sys.addaudithook(
            lambda event, args: event == "import" and args[0] == "torch"
            and print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
        )
        main(["mask", "none", "--shape", "8x8", "--output", os.devnull])
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT",)}
    environment.pop("OMP_WAIT_POLICY", None)
    if policy:
        environment["OMP_WAIT_POLICY"] = policy
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split()[0] == str(turns), done.stderr
