"""`mrirecon benchmark`: the shipped tables at reduced sizes, killed runs, several processes, bad usage."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from mrirecon.benchmark import read_table
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.io import write_scan
from mrirecon.methods import METHODS, Posterior, Untrained
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.networks.humus import HUMUSNet
from mrirecon.networks.unet import UNetBaseline
from mrirecon.networks.varnet import VarNet
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan
from mrirecon.weights import card_of, save_weights, shipped_weights

CONFIGS = Path(__file__).parents[2] / "configs" / "benchmark"
SHAPE = (40, 48)
HUMUS = {
    "num_cascades": 1,
    "sens_chans": 2,
    "sens_pools": 2,
    "img_size": [32, 32],
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2],
    "num_heads": [1],
    "bottleneck_heads": 2,
}
MEASURED = {"seconds_per_slice", "peak_memory_mb"}  # differ from run to run


def write(path, seed):
    image = shepp_logan(SHAPE).numpy()[:, :, None] * np.array([0.8, 1.0])
    made = simulate_scan(image, coils=4, snr=40.0, seed=seed, readout_oversampling=2.0)
    write_scan(made.scan, path)


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """multicoil_val and multicoil_train of small files in the fastMRI layout, oversampled as the real ones are."""
    root = tmp_path_factory.mktemp("knee")
    for kind, seeds in (("multicoil_val", (0, 1)), ("multicoil_train", (2, 3))):
        (root / kind).mkdir()
        for seed in seeds:
            write(root / kind / f"file100{seed}.h5", seed)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Small random networks: `--weights.NAME FILE` for a U-Net, a VarNet, a HUMUS-Net and a prior."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(1)
        made = {
            "unet": UNetBaseline(chans=2, num_pool_layers=2),
            "varnet": VarNet(num_cascades=1, chans=2, pools=2, sens_chans=2, sens_pools=2),
            "humus": HUMUSNet(**HUMUS),
            "prior": DenoiserUNet(widths=(8, 8), sigma_min=0.01),
        }
        for parameter in made["prior"].parameters():  # the output layer starts at 0
            torch.nn.init.normal_(parameter, std=0.05)
    options = []
    for name, network in made.items():
        path = folder / f"{name}.safetensors"
        save_weights(network, path, card_of(network))
        options += [f"--weights.{name}", path]
    return options


def reduced(name, path):
    """A shipped configuration with everything it says but the sizes."""
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    settings |= {"middle": 1, "limit": 1, "threads": 1}
    if "tuning" in settings:
        settings["tuning"] |= {"middle": 1, "limit": 1}
    for mask in settings["masks"]:
        mask.pop("center_fraction", None)
        mask["center_size"] = 4
    for method in settings["methods"]:
        options = method.setdefault("options", {})
        if method["method"] == "samplers" or issubclass(METHODS[method["method"]], Posterior):
            options["levels"] = 2
        if "iterations" in options:
            options["iterations"] = 5
        elif method["method"] != "samplers" and issubclass(METHODS[method["method"]], Untrained):
            options |= {"iterations": 2, "channels": 4}
        elif method["method"] in ("csgm", "variational"):
            options |= {"iterations": 3}
        if "tune" in method:
            method["tune"] = {key: values[:2] for key, values in method["tune"].items()}
    path.write_text(yaml.safe_dump(settings))
    return path, settings


def scans_of(knees):
    return "--scans", knees / "multicoil_val", "--tuning.scans", knees / "multicoil_train"


def read_rows(folder):
    table = read_table(folder)
    return table.astype(object).where(table.notna(), None).to_dict("records")


def same(rows):
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]


def test_the_dds_table_end_to_end(mrirecon, knees, weights, tmp_path):
    config, settings = reduced("dds_table", tmp_path / "c.yaml")
    assert len(settings["masks"]) == 8 and len(settings["methods"]) == 10
    output = tmp_path / "table"
    line = ("benchmark", "--config", config, *scans_of(knees), *weights, "--output", output)
    result = mrirecon(*line)
    assert result.status == 0, result.errors
    rows = read_rows(output)
    assert len(rows) == 80 and not any(row["failure"] for row in rows)
    names = [method["name"] for method in settings["methods"]]
    assert [row["method"] for row in rows[:10]] == names
    assert list(dict.fromkeys(row["mask"] for row in rows)) == [
        m["name"] for m in settings["masks"]
    ]
    for row in rows:
        assert row["acceleration_achieved"] == pytest.approx(row["acceleration"], rel=0.02)
        assert np.isfinite([row["fastmri_psnr"], row["dds-minmax_ssim"]]).all()
        assert (row["tuned"] != {}) == (row["method"] == "TV")
    evaluations = {row["method"]: row["network_evaluations"] for row in rows}
    assert evaluations["DDS (99)"] == 2 and evaluations["TV"] == 0 and evaluations["U-Net"] == 1
    assert evaluations["Score-MRI (4000 x C)"] == 3 * 4  # of the last level only the predictor
    with (output / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["fastmri_psnr"]) for row in table] == [row["fastmri_psnr"] for row in rows]
    text = (output / "table.md").read_text()
    assert "## PSNR, dB (fastmri)" in text and "## SSIM (dds-minmax)" in text
    assert "Score-MRI" in (output / "table.html").read_text()
    report = (output / "report.html").read_text()
    assert "PSNR (fastmri) against acceleration" in (output / "table.html").read_text()
    first, mask = rows[0]["scan"], rows[0]["mask"]
    assert f"{first}, {mask}<" in report and "DDS (99): |error|" in report
    assert (output / "plots" / "psnr_fastmri_against_acceleration.png").stat().st_size > 5000
    record = json.loads((output / "cells" / f"{rows[5]['cell']}.json").read_text())
    assert record["weights"]["network"] == "denoiser" and record["maps"]["kind"] == "espirit"
    assert any("oversampling removed" in note for note in record["notes"])
    before = {path: path.stat().st_mtime_ns for path in (output / "cells").iterdir()}
    assert mrirecon(*line).status == 0
    assert {path: path.stat().st_mtime_ns for path in (output / "cells").iterdir()} == before
    assert read_rows(output) == rows


def test_the_gallery_end_to_end(mrirecon, knees, weights, tmp_path):
    """Its scans are heads; every sampler takes every mask."""
    config, settings = reduced("gallery", tmp_path / "c.yaml")
    others = [m.get("name", m["method"]) for m in settings["methods"] if m["method"] != "samplers"]
    output = tmp_path / "table"
    line = ("benchmark", "--config", config, *scans_of(knees), *weights, "--output", output)
    assert mrirecon(*line).status == 0
    rows = read_rows(output)
    assert len(others) == 11 and len(settings["masks"]) == 4
    for mask in {row["mask"] for row in rows}:  # every one once
        methods = [row["method"] for row in rows if row["mask"] == mask]
        assert sorted(methods) == sorted([*others, *SAMPLERS])
    assert set(SAMPLERS) < {row["method_kind"] for row in rows}
    assert not any(row["failure"] for row in rows)
    assert "inside the head" in (output / "table.md").read_text()


@pytest.mark.parametrize(
    "name", ["dds_noise_table", "dds_settings", "leaderboard_knee", "networks", "small"]
)
def test_the_other_shipped_tables_end_to_end(mrirecon, knees, weights, name, tmp_path):
    config, settings = reduced(name, tmp_path / "c.yaml")
    line = ("benchmark", "--config", config, *scans_of(knees), *weights)
    result = mrirecon(*line, "--output", tmp_path / "table")
    assert result.status == 0, result.errors
    rows = read_rows(tmp_path / "table")
    missing = result.out.count("is left out")
    methods = len(settings["methods"]) - missing
    assert len(rows) == len(settings["masks"]) * len(settings.get("noise", [0])) * methods
    assert not any(row["failure"] for row in rows)
    shipped = {
        method["name"]
        for method in settings["methods"]
        if method.get("if_shipped") and f"{method['method']}_tiny" in shipped_weights()
    }
    assert shipped <= {row["method"] for row in rows}
    for protocol in settings["protocols"]:
        assert all(np.isfinite(row[f"{protocol}_psnr"]) for row in rows)


def test_weights_are_looked_for_before_any_work(refused, knees, weights, tmp_path):
    line = ("benchmark", "--config", CONFIGS / "leaderboard_knee.yaml", *scans_of(knees))
    of_unet = weights.index("--weights.unet") + 1
    weights = [*weights[:of_unet], tmp_path / "no.safetensors", *weights[of_unet + 1 :]]
    told = refused(*line, *weights, "--output", tmp_path / "table")
    assert "U-Net" in told and "no.safetensors" in told
    assert not (tmp_path / "table").exists()


def test_print_config_of_a_table(mrirecon, knees):
    line = ("benchmark", "--config", CONFIGS / "small.yaml", *scans_of(knees), "--output", "table")
    settings = yaml.safe_load(mrirecon(*line, "--limit", 3, "--print_config").out)
    assert settings["scans"] == [str(knees / "multicoil_val")] and settings["limit"] == 3
    assert settings["tuning"]["scans"] == [str(knees / "multicoil_train")]
    given = yaml.safe_load((CONFIGS / "small.yaml").read_text())
    assert settings["methods"] == given["methods"] and settings["masks"] == given["masks"]
    assert settings["tuning"]["limit"] == given["tuning"]["limit"]


QUICK = {
    "masks": [
        {"kind": "uniform1d", "acceleration": 2, "center_size": 12},
        {"name": "points", "kind": "poisson", "acceleration": 4, "center_size": 12},
    ],
    "methods": [
        {"method": "zero_filled"},
        {"method": "tv", "options": {"iterations": 5}, "tune": {"regularization": [0.001, 0.01]}},
        {"name": "DDS", "method": "dds", "options": {"levels": 6}, "seeds": [0, 1]},
    ],
    "noise": [0, 0.05],
    "protocols": ["fastmri", "slice"],
    "threads": 1,
}


def command(config, knees, weights, output):
    line = ("benchmark", "--config", config, *scans_of(knees), *weights, "--output", output)
    return [str(word) for word in line]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    path = tmp_path_factory.mktemp("quick") / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK))
    return path


@pytest.fixture(scope="module")
def undisturbed(quick, knees, weights, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "table"
    run = [sys.executable, "-m", "mrirecon", *command(quick, knees, weights, output)]
    done = subprocess.run(run, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    return output


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_run_killed_again_and_again_ends_with_the_same_table(
    quick, knees, weights, undisturbed, tmp_path
):
    output = tmp_path / "table"
    run = [sys.executable, "-m", "mrirecon", *command(quick, knees, weights, output)]
    kills = 0
    for folder, wanted in (("tuning", 3), ("cells", 5), ("cells", 20)):
        process = subprocess.Popen(
            run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        try:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if len(list((output / folder).glob("[!.]*.json"))) >= wanted:
                    process.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.005)
        finally:
            process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    kept = {path.name: path.stat().st_mtime_ns for path in (output / "cells").glob("[!.]*.json")}
    assert 20 <= len(kept) < 32
    done = subprocess.run(run, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert same(read_rows(output)) == same(read_rows(undisturbed))
    now = {path.name: path.stat().st_mtime_ns for path in (output / "cells").iterdir()}
    assert len(now) == 32 and kept.items() <= now.items()
    assert {path.name for path in output.iterdir()} == {path.name for path in undisturbed.iterdir()}


def test_records_that_hold_something_else_are_made_again(mrirecon, tmp_path, monkeypatch):
    """As an older version or an editor leaves them: JSON, of the same request, but without what the tables ask for."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "scan.h5", 0)
    table = {
        "scans": ["scan.h5"],
        "masks": QUICK["masks"][:1],
        "methods": [{"method": "zero_filled"}],
        "output": "t",
    }
    Path("c.yaml").write_text(yaml.safe_dump(table))
    assert mrirecon("benchmark", "--config", "c.yaml").status == 0
    (cell,) = Path("t/cells").iterdir()
    whole, rows = json.loads(cell.read_text()), read_rows("t")
    assert len(rows) == 1 and rows[0]["fastmri_psnr"] > 0
    damages = {
        "metrics": [None, "none", {}, {"fastmri": 3}, {"fastmri": {"psnr": "x"}}],
        "acceleration": [None, 4, {"nominal": 4}, {"achieved": "4"}],
        "kspace_shape": [None, 3, [3]],
        "seconds_per_slice": ["fast"],
        "notes": [None, "x", [3]],
        "failure": [None, 3, {}],
        "mask": [None, "x", -1, float("nan"), [], {"kind": 3}],
        "parameters": [None, ["x"]],
        "checksum": [None, "x"],
    }
    for entry, values in damages.items():
        for value in values:
            cell.write_text(json.dumps({**whole, entry: value}))
            assert mrirecon("benchmark", "--config", "c.yaml").status == 0, (entry, value)
            assert json.loads(cell.read_text())["metrics"] == whole["metrics"], (entry, value)
            again = read_rows("t")[0]
            assert {k: v for k, v in again.items() if k not in MEASURED} == {
                k: v for k, v in rows[0].items() if k not in MEASURED
            }


def test_two_processes_give_the_same_table(quick, knees, weights, undisturbed, tmp_path):
    output = tmp_path / "table"
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    start += ["--nproc_per_node", "2", "-m", "mrirecon"]
    done = subprocess.run(
        [*start, *command(quick, knees, weights, output)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("table.html") == 1  # one process writes
    assert same(read_rows(output)) == same(read_rows(undisturbed))
    assert (output / "tuning.json").read_text() == (undisturbed / "tuning.json").read_text()


def test_a_failing_cell_is_a_row_and_an_exit_status(mrirecon, knees, weights, tmp_path):
    settings = {
        **QUICK,
        "noise": [0],
        "methods": [
            {"method": "zero_filled"},
            {"name": "DDRM", "method": "ddrm", "options": {"levels": 2, "coils": "joint"}},
        ],
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    folder = tmp_path / "scans"
    shutil.copytree(knees / "multicoil_val", folder)
    broken = folder / "file1001.h5"
    broken.write_bytes(broken.read_bytes()[:2000])
    line = ("benchmark", "--config", tmp_path / "c.yaml", "--scans", folder, *weights)
    line = (*line, "--output", tmp_path / "table", "--middle", 1)
    result = mrirecon(*line)
    assert result.status == 1
    rows = read_rows(tmp_path / "table")
    failed = {(row["scan"], row["mask"], row["method"]): row["failure"] for row in rows}
    assert len(failed) == 8
    assert failed["file1000", "uniform1d x2", "DDRM"] is None
    assert "give coils: lanczos or each" in failed["file1000", "points", "DDRM"]
    assert "file1001.h5" in failed["file1001", "points", "zero_filled"]
    assert len(result.errors) == sum(text is not None for text in failed.values()) == 5
    assert any("DDRM on file1000, points: " in line for line in result.errors)
    text = (tmp_path / "table" / "table.md").read_text()
    assert "(1 of 2 failed)" in text and "| failed |" in text and "## Failures" in text
    shutil.copy(knees / "multicoil_val" / "file1001.h5", broken)  # mended: other cells
    assert mrirecon(*line).status == 1
    rows = read_rows(tmp_path / "table")
    assert sum(bool(row["failure"]) for row in rows) == 2
    record = tmp_path / "table" / "cells" / f"{next(r for r in rows if r['failure'])['cell']}.json"
    before = record.stat().st_mtime_ns
    assert mrirecon(*line).status == 1 and record.stat().st_mtime_ns == before
    assert mrirecon(*line, "--retry").status == 1 and record.stat().st_mtime_ns > before


def test_tuning_scans_must_be_others(refused, knees, weights, quick, tmp_path):
    line = ("benchmark", "--config", quick, *weights, "--output", tmp_path / "table")
    scans = knees / "multicoil_val"
    told = refused(*line, "--scans", scans, "--tuning.scans", scans / "file1001.h5")
    assert "file1001.h5 is a scan of the table and a tuning scan" in told
    copy = tmp_path / "another_name.h5"
    shutil.copy(scans / "file1001.h5", copy)
    told = refused(*line, "--scans", scans, "--tuning.scans", copy)
    assert "another_name.h5" in told and "file1001.h5" in told
    assert not (tmp_path / "table" / "table.csv").exists()
    assert "--tuning.scans" in refused(*line, "--scans", scans)


def test_weights_that_do_not_come_along(mrirecon, refused, knees, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("mrirecon.benchmark.entries.shipped_weights", lambda: ())
    methods = [{"method": "zero_filled"}, {"method": "varnet", "if_shipped": True}]
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({**QUICK, "noise": [0], "methods": methods}))
    line = ("benchmark", "--config", config, "--scans", knees / "multicoil_val")
    line = (*line, "--output", tmp_path / "table")
    result = mrirecon(*line)
    assert result.status == 0 and "varnet is left out" in result.out
    assert {row["method"] for row in read_rows(tmp_path / "table")} == {"zero_filled"}
    result = mrirecon(*line, *weights)
    assert result.status == 0 and "left out" not in result.out
    assert {row["method"] for row in read_rows(tmp_path / "table")} == {"zero_filled", "varnet"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"maskss": []}, ["maskss", "did you mean --masks?"]),
        ({"masks": []}, ["no masks"]),
        ({"masks": [{"kind": "poison", "acceleration": 4}]}, ["poison", "did you mean poisson?"]),
        ({"masks": [{"kind": "poisson", "accel": 4}]}, ["accel", "did you mean acceleration?"]),
        ({"masks": [{"kind": "poisson"}]}, ["masks", "no acceleration"]),
        ({"masks": [{"kind": "poisson", "acceleration": "4x"}]}, ["'4x'", "a number"]),
        ({"masks": [{"kind": "poisson", "acceleration": 0.5}]}, ["0.5", "at least 1"]),
        ({"masks": [{"kind": "poisson", "acceleration": 4, "seed": -1}]}, ["-1", "seed"]),
        (
            {"masks": [{"kind": "uniform1d", "acceleration": 4, "elliptical": True}]},
            ["elliptical", "masks"],
        ),
        (
            {
                "masks": [
                    {"kind": "poisson", "acceleration": 4, "center_size": 4, "center_fraction": 0.1}
                ]
            },
            ["center_size", "center_fraction"],
        ),
        ({"masks": [{"kind": "poisson", "acceleration": 4}] * 2}, ["poisson x4", "name"]),
        ({"methods": [{"method": "ddss"}]}, ["ddss", "did you mean dds?"]),
        ({"methods": [{"metod": "dds"}]}, ["metod", "did you mean method?"]),
        (
            {"methods": [{"method": "tv", "options": {"iteration": 3}}]},
            ["iteration", "did you mean iterations?"],
        ),
        (
            {"methods": [{"method": "tv", "options": {"iterations": "many"}}]},
            ["method tv", "iterations", "'many'", "whole number"],
        ),
        ({"methods": [{"method": "tv", "options": {"iterations": 0}}]}, ["iterations is 0"]),
        ({"methods": [{"method": "tv", "tune": {"iterations": 3}}]}, ["tune", "list"]),
        ({"methods": [{"method": "tv", "tune": {"iteration": [3]}}]}, ["did you mean iterations?"]),
        ({"methods": [{"method": "tv", "seeds": [1]}]}, ["tv", "draws nothing"]),
        ({"methods": [{"method": "dds", "seeds": []}]}, ["method dds", "seeds is empty"]),
        ({"masks": [{"kind": "poisson", "acceleration": 4, "seeds": []}]}, ["seeds is empty"]),
        (
            {"masks": [{"kind": "poisson", "acceleration": 4, "seeds": [1], "seed": 2}]},
            ["seed and seeds"],
        ),
        ({"methods": [{"method": "tv"}] * 2}, ["two methods", "tv"]),
        ({"methods": [{"method": "varnet", "weights": "varnet_tini"}]}, ["varnet_tiny?"]),
        ({"protocols": ["fastmr"]}, ["fastmr", "did you mean fastmri?"]),
        ({"weights": {"varnt": "x"}}, ["varnt", "did you mean varnet?"]),
        ({"tuning": {"metric": "psn"}}, ["psn", "did you mean psnr?"]),
        ({"tuning": {"scan": []}}, ["tuning.scan", "did you mean --tuning.scans?"]),
        ({"noise": [-1]}, ["-1", "noise"]),
        ({"slices": "1-2"}, ["1-2", "A:B"]),
        ({"slices": "5:2"}, ["5:2", "no slice"]),
        ({"support": "hed"}, ["support", "hed", "head"]),
        ({"lesions": {"kind": "grown"}}, ["lesions.kind", "grown", "removed"]),
        ({"lesions": {"sise": 3}}, ["lesions.sise"]),
        ({"lesions": {"radius": 0.5}}, ["lesions", "radius is 0.5", "1 to 50"]),
        ({"slices": "1:2", "middle": 3}, ["slices", "middle"]),
        ({"middle": 0}, ["middle is 0"]),
        ({"limit": 0}, ["limit is 0"]),
        ({"threads": 0}, ["threads", "0"]),
        ({"scans": ["nothing.h5"]}, ["nothing.h5: no such file"]),
        ({"scans": []}, ["no scans", "--scans"]),
        ({"simulated": [{"image": "embedded", "coil": 3}]}, ["coil", "did you mean coils?"]),
        ({"simulated": [{"coils": 3}]}, ["no image"]),
    ],
)
def test_bad_configurations_are_one_line(refused, knees, change, words, tmp_path):
    settings = {
        "scans": [str(knees / "multicoil_val")],
        "masks": [{"kind": "poisson", "acceleration": 4, "center_size": 8}],
        "methods": [{"method": "tv"}],
        **change,
    }
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(settings))
    line = refused("benchmark", "--config", config, "--output", tmp_path / "table")
    assert all(word in line for word in words), line
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_scans_with_references_calibrate_the_error_bars_of_another(mrirecon, refused, tmp_path):
    """The file that `benchmark` writes goes into `recon`, whose own reference nothing sees."""
    for seed in range(3):
        write(tmp_path / f"scan{seed}.h5", seed)
    table = {
        "scans": [str(tmp_path / "scan0.h5"), str(tmp_path / "scan1.h5")],
        "masks": QUICK["masks"][1:],
        "methods": [
            {"method": "cg_sense", "options": {"iterations": 5}},
            {"method": "unet"},
        ],
        "remove_oversampling": True,
        "error_bars": True,
        "threads": 1,
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(table))
    words = ("benchmark", "--config", tmp_path / "c.yaml", "--output", tmp_path / "t")
    assert mrirecon(*words).status == 0
    (path,) = (tmp_path / "t" / "error_bars").iterdir()  # a magnitude has none
    said = json.loads(path.read_text())
    (entry,) = said["masks"]
    assert path.name == "cg_sense.json" and entry["scans"] == 2 and said["draws"] == 6
    assert entry["factors"] == sorted(entry["factors"]) and entry["probability"][3] == 2 / 3
    scores = [
        json.loads(cell.read_text()).get("error_bars") for cell in (tmp_path / "t/cells").iterdir()
    ]
    ninety = [one[3] for one in scores if one is not None]
    assert entry["factors"][3] == max(ninety)
    options = ("--mask", "poisson", "--acceleration", 4, "--remove_oversampling", "true")
    options = (*options, "--method", "cg_sense", "--method.iterations", 5, "--calibrate", path)
    made = []
    for poisoned in (False, True):
        scan, output = tmp_path / "scan2.h5", tmp_path / f"x{poisoned}.npy"
        if poisoned:
            with h5py.File(scan, "r+") as file:
                file["reconstruction_rss"][...] = np.random.default_rng(0).random(
                    file["reconstruction_rss"].shape
                )
        result = mrirecon("recon", scan, *options, "--output", output)
        assert result.status == 0, result.errors
        assert "a probability of 67 %" in result.out
        made.append([np.load(output.with_name(f"x{poisoned}_{n}.npy")) for n in ("low", "high")])
    assert np.array_equal(made[0][0], made[1][0]) and np.array_equal(made[0][1], made[1][1])
    assert float(np.mean(np.abs(made[0][1]) - np.abs(made[0][0]))) > 0
    others = [6 if word == 5 else word for word in options]
    line = refused("recon", scan, *others, "--output", tmp_path / "y.npy")
    assert "iterations was 5, here it is 6" in line
