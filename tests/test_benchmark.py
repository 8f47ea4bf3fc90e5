"""The table of a benchmark as a library: its numbers, its pivots, what makes a cell a new one."""

import inspect
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scan_cases import reconstructed

import mrirecon as mr
from mrirecon.benchmark import (
    Benchmark,
    MaskEntry,
    MethodEntry,
    Source,
    Tuning,
    means_of,
    read_table,
    run_benchmark,
)
from mrirecon.benchmark.entries import method_entries
from mrirecon.benchmark.regions import find_brain, find_head
from mrirecon.benchmark.sources import add_noise, find_scans, simulated_scans
from mrirecon.benchmark.tables import markdown, summarise, table_of
from mrirecon.cli.benchmark import benchmark as benchmark_command
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.io import read_scan, write_scan
from mrirecon.masks import MASKS, MaskSpec, fastmri_seed, make_mask
from mrirecon.metrics import evaluate
from mrirecon.noise import prewhiten
from mrirecon.phantom import shepp_logan
from mrirecon.recon import EstimatedMaps
from mrirecon.report.template import write_page
from mrirecon.scale import volume_scale
from mrirecon.simulate import simulate_scan
from mrirecon.weights import load_weights, save_weights

SHAPE = (32, 40)
MASK = MaskEntry(kind="uniform1d", acceleration=2, center_size=12)


def write(path, seed, **options):
    image = shepp_logan(SHAPE).numpy()[:, :, None] * np.array([0.7, 1.0, 0.9])
    write_scan(simulate_scan(image, coils=4, snr=40.0, seed=seed, **options).scan, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("benchmark")
    for kind, seeds in (("test", (0, 1)), ("tuning", (2, 3))):
        (root / kind).mkdir()
        for seed in seeds:
            write(root / kind / f"scan{seed}.h5", seed)
    return root


def small(folder, **changed):
    settings = {
        "scans": tuple(find_scans([str(folder / "test")], 1)),
        "masks": (MASK,),
        "methods": (MethodEntry(method="zero_filled"),),
    }
    return Benchmark(**{**settings, **changed})


def rows_of(benchmark, folder):
    """The rows of a table that is made, with None for what is missing."""
    return plain(run_benchmark(benchmark, folder))


def plain(table):
    return table.astype(object).where(table.notna(), None).to_dict("records")


def row(method, mask, value, failure=None, noise=0.0):
    return {"method": method, "mask": mask, "noise": noise, "psnr": value, "failure": failure}


def test_means_equal_hand_computed_numbers():
    table = table_of(
        [
            row("a", "x4", 30.0),
            row("a", "x4", 34.0),
            row("a", "x4", 32.0),
            row("b", "x4", 31.0),
            row("b", "x4", 70.0, "no memory"),
            row("a", "x8", None, "no memory"),
            row("b", "x8", 20.5),
        ]
    )
    made = means_of(table, "psnr", ["mask"])
    assert list(made.index) == [("x4", "a"), ("x4", "b"), ("x8", "a"), ("x8", "b")]
    numbers = made[["mean", "std", "made", "failed"]].fillna(-1).to_numpy().tolist()
    assert numbers == [[32, 2, 3, 0], [31, -1, 1, 1], [-1, -1, 0, 1], [20.5, -1, 1, 0]]
    noisy = table_of([row("a", "x4", 1.0, noise=n) for n in (0.1, 0.0)])
    assert list(means_of(noisy, "psnr").index) == [("x4", 0.1, "a"), ("x4", 0.0, "a")]


@pytest.mark.parametrize(
    ("values", "larger", "ranks"),
    [
        ({"a": 3.0, "b": 5.0, "c": 4.0}, True, {"b": 1, "c": 2, "a": 3}),
        ({"a": 3.0, "b": 5.0, "c": 4.0}, False, {"a": 1, "c": 2, "b": 3}),
        ({"a": 1.0, "b": 1.0, "c": 0.5}, True, {"a": 1, "b": 1, "c": 2}),
    ],
)
def test_ranks_are_of_means_and_leave_failures_out(values, larger, ranks):
    rows = [row(name, "x4", value) for name, value in values.items()]
    rows += [row("d", "x4", 9.0), row("d", "x4", None, "no memory"), row("e", "x4", None, "none")]
    made = means_of(table_of(rows), "psnr", larger_is_better=larger)["rank"]
    assert made.xs("x4").droplevel(0).dropna().to_dict() == ranks


def test_pages_mark_the_best_and_show_failures(folder, tmp_path):
    names = ("zero_filled", "adjoint", "cg_sense", "ddrm")
    benchmark = small(folder, methods=tuple(MethodEntry(method=name) for name in names))
    values = {"zero_filled": (20.0, 22.0), "adjoint": (25.0, 27.0), "cg_sense": (30.0, 32.0)}
    rows = []
    for method in names:
        for number in (0, 1):
            value = values.get(method, (50.0, 50.0))[number]
            failure = "no <b>memory</b> | left" if method == "ddrm" and number else None
            rows.append(
                {
                    **row(method, "uniform_1d", value, failure),
                    **{f"fastmri_{metric}": value for metric in ("psnr", "ssim", "nmse")},
                    **{"scan": f"s{number}", "slices": 3, "seed": None, "tuned": {}},
                    "warnings": ["s0 is strange", "and more"] if method == "adjoint" else [],
                    **{"seconds_per_slice": 1.0, "network_evaluations": 0.0},
                    "peak_memory_mb": 100.0 + number,
                }
            )
    summary = summarise(table_of(rows), benchmark)
    text = markdown(summary)
    start = text.index("| method | uniform\\_1d |")
    assert text[start:].splitlines()[2:6] == [
        "| zero\\_filled | 21.00 ± 1.41 |",
        "| adjoint | <u>26.00 ± 1.41</u> |",
        "| cg\\_sense | **31.00 ± 1.41** |",
        "| ddrm | 50.00 (1 of 2 failed) |",
    ]
    assert "2 scans, 6 slices" in text
    assert "ddrm on s1" in text and "no &lt;b&gt;memory&lt;/b&gt; \\| left" in text
    assert "| ddrm | 1.000 (1 of 2 failed) | 0 | 101 | 1 |" in text
    assert "* adjoint, uniform\\_1d (2 of 2): such as s0 is strange\n" in text
    shown = write_page(
        tmp_path / "t.html", "table.html", False, summary=summary, plots=[]
    ).read_text()
    assert '<td class="best">31.00 <small>± 1.41</small><' in shown
    assert '<td class="second">26.00 <small>± 1.41</small><' in shown
    assert '<td class="failed">50.00 (1 of 2 failed)</td>' in shown
    assert "<b>memory" not in shown and "no &lt;b&gt;memory" in shown
    assert "http:" not in shown and "https:" not in shown and "Content-Security-Policy" in shown


def test_numbers_are_those_of_the_method_itself(folder, tmp_path):
    benchmark = small(
        folder,
        methods=(MethodEntry(method="cg_sense", options={"iterations": 5}),),
        protocols=("fastmri", "dds-minmax"),
    )
    rows = rows_of(benchmark, tmp_path)
    assert [made["scan"] for made in rows] == ["scan0", "scan1"]
    scan = read_scan(folder / "test" / "scan1.h5").select(slice(1, 2))
    fraction = MASK.fraction(SHAPE)
    mask = make_mask("uniform1d", SHAPE, 2, center_fraction=fraction, seed=0)
    assert int(mask[0].sum()) == 20 and bool(mask[0, 14:26].all())
    volume = reconstructed("cg_sense", scan.undersample(mask), iterations=5)
    for protocol in benchmark.protocols:
        expected = evaluate(volume.image[0].abs(), scan.reference(0)[None], protocol)
        for metric in ("psnr", "ssim", "nmse", "nrmse"):
            assert rows[1][f"{protocol}_{metric}"] == getattr(expected, metric)
    assert rows == plain(read_table(tmp_path))
    record = json.loads((tmp_path / "cells" / f"{rows[1]['cell']}.json").read_text())
    assert record["parameters"]["iterations"] == 5 and record["versions"]["torch"]
    assert record["mask"]["seed"] == 0 and record["acceleration"]["achieved"] == 2.0
    assert record["data_residual"] == volume.info["data_residual"] == rows[1]["data_residual"]
    assert rows[1]["peak_memory_mb"] is None or rows[1]["peak_memory_mb"] > 50


def test_the_report_numbers_slices_as_the_file_does(folder, tmp_path):
    run_benchmark(small(folder, scans=tuple(find_scans([str(folder / "test")], "1:3"))), tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert text.count('"slices": [1, 2]') == 2 and '"slices": [0' not in text


def test_support_judges_inside_the_coil_maps(folder, tmp_path):
    image = np.zeros((64, 56))
    image[20:44, 16:40] = shepp_logan((24, 24)).numpy()
    write_scan(simulate_scan(image, coils=6, snr=40.0).scan, tmp_path / "small.h5")
    calibration = EstimatedMaps(threshold=0.1)
    scans = tuple(find_scans([str(tmp_path / "small.h5")]))
    benchmark = small(folder, scans=scans, support=True, calibration=calibration)
    (made,) = rows_of(benchmark, tmp_path / "out")
    scan = read_scan(tmp_path / "small.h5")
    inside = calibration(prewhiten(scan), 0, "cpu")[0].abs().sum(0)[None] > 0
    assert 0.1 < float(inside.float().mean()) < 0.5
    mask = MASK.draw((64, 56), 0)
    zero_filled = reconstructed("zero_filled", scan.undersample(mask)).image[0].abs()
    expected = evaluate(zero_filled, scan.reference(0)[None], support=inside)
    assert made["fastmri_psnr"] == expected.psnr and made["fastmri_ssim"] == expected.ssim
    assert abs(made["fastmri_psnr"] - evaluate(zero_filled, scan.reference(0)[None]).psnr) > 0.5


def test_a_scan_without_reference_is_compared_with_its_fully_sampled_image(folder, tmp_path):
    scan = read_scan(folder / "test" / "scan0.h5")
    write_scan(scan, tmp_path / "plain.npy")
    plain = tuple(find_scans([str(tmp_path / "plain.npy")], 1))
    (made,) = rows_of(small(folder, scans=plain), tmp_path / "out")
    middle = scan.select(slice(1, 2))
    mask = MASK.draw(SHAPE, 0)
    images = [
        reconstructed("zero_filled", one).image[0].abs()
        for one in (middle.undersample(mask), middle)
    ]
    expected = evaluate(*images)
    assert made["fastmri_psnr"] == pytest.approx(expected.psnr, rel=1e-6)
    sparse = MASK.draw(SHAPE, 1)
    write_scan(scan.undersample(sparse), tmp_path / "sparse.npy")
    plain = tuple(find_scans([str(tmp_path / "sparse.npy")], 1))
    (failed,) = rows_of(small(folder, scans=plain), tmp_path / "out")
    assert "not fully sampled" in failed["failure"] and failed["fastmri_psnr"] is None


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_only_what_changed_is_computed_again(folder, tmp_path):
    methods = (
        MethodEntry(method="zero_filled"),
        MethodEntry(method="cg_sense", options={"iterations": 3}),
    )
    first = rows_of(small(folder, methods=methods), tmp_path)
    before = stamps(tmp_path / "cells")
    assert len(before) == 4
    assert rows_of(small(folder, methods=methods), tmp_path) == first
    assert stamps(tmp_path / "cells") == before
    renamed = (replace(methods[0], name="nothing"), replace(methods[1], name="CG"))
    rows = rows_of(small(folder, methods=renamed), tmp_path)
    assert stamps(tmp_path / "cells") == before and rows[1]["method"] == "CG"
    longer = (methods[0], MethodEntry(method="cg_sense", options={"iterations": 4}))
    rows = rows_of(small(folder, methods=longer), tmp_path)
    after = stamps(tmp_path / "cells")
    assert len(after) == 6 and before.items() <= after.items()
    assert rows[0]["cell"] == first[0]["cell"] and rows[1]["cell"] != first[1]["cell"]
    damaged = tmp_path / "cells" / f"{rows[0]['cell']}.json"
    damaged.write_text(damaged.read_text()[:50])
    again = rows_of(small(folder, methods=longer), tmp_path)
    assert again[0]["fastmri_psnr"] == rows[0]["fastmri_psnr"]


def test_weights_count_by_their_content(folder, tmp_path):
    network, card = load_weights("varnet_tiny")
    for number in (1, 2):
        if number == 2:
            for weights in network.parameters():  # the first alone are normalised away
                weights.data.mul_(1.5)
        save_weights(network, tmp_path / f"v{number}.safetensors", replace(card, sha256=""))
    keys = []
    for weights in (
        "varnet_tiny",
        str(tmp_path / "v1.safetensors"),
        str(tmp_path / "v2.safetensors"),
    ):
        method = MethodEntry(method="varnet", options={"weights": weights})
        keys.append(rows_of(small(folder, methods=(method,)), tmp_path / "out")[0]["cell"])
    assert keys[0] == keys[1] != keys[2]
    both = [str(tmp_path / f"v{number}.safetensors") for number in (2, 1)]
    tuning = Tuning(scans=[str(folder / "tuning")], middle=1, limit=1)
    method = MethodEntry(method="varnet", tune={"weights": both})
    rows = rows_of(small(folder, methods=(method,), tuning=tuning), tmp_path / "out")
    assert rows[0]["weights"] == both[1] and rows[0]["cell"] == keys[0]


def test_a_first_image_counts_by_its_content(tmp_path):
    entries, path = [], tmp_path / "first.cfl"
    header = path.with_suffix(".hdr")
    header.write_text("# Dimensions\n8 8\n")
    for content in (b"1", b"1", b"2"):
        path.write_bytes(content)
        method = MethodEntry.of({"method": "dds", "options": {"start": str(path)}}, {})
        entries.append(method.sha256({}))
    assert entries[0] == entries[1] != entries[2]
    assert set(entries[0]) == {"weights", "start_image"}
    begun = MethodEntry.of({"method": "dds", "options": {"start": "varnet"}}, {})
    usual = MethodEntry.of({"method": "varnet"}, {})
    assert begun.sha256({})["start_weights"] == usual.sha256({})["weights"]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"method dds: .*first\.cfl: no such file"):
        method.sha256({})


def test_other_content_under_the_same_name_is_another_cell(folder, tmp_path):
    path = write(tmp_path / "scan.h5", 7)
    benchmark = small(folder, scans=tuple(find_scans([str(path)], 1)))
    (first,) = rows_of(benchmark, tmp_path / "out")
    path.unlink()
    write(path, 8)
    (second,) = rows_of(benchmark, tmp_path / "out")
    assert first["cell"] != second["cell"] and first["fastmri_psnr"] != second["fastmri_psnr"]


def test_tuning_takes_what_is_best_on_the_tuning_scans(folder, tmp_path):
    tuning = Tuning(scans=[str(folder / "tuning")], middle=1, metric="nmse")
    values = [1e-4, 0.05, 5.0]
    method = MethodEntry(
        method="tv", options={"iterations": 8}, tune={"regularization": values, "isotropic": [True]}
    )
    benchmark = small(folder, methods=(method,), tuning=tuning)
    rows = rows_of(benchmark, tmp_path)
    scores = {}
    mask = MASK.draw(SHAPE, 0)
    for value in values:
        found = []
        for seed in (2, 3):
            scan = read_scan(folder / "tuning" / f"scan{seed}.h5").select(slice(1, 2))
            volume = reconstructed("tv", scan.undersample(mask), regularization=value, iterations=8)
            found.append(evaluate(volume.image[0].abs(), scan.reference(0)[None]).nmse)
        scores[value] = sum(found) / 2
    best = min(scores, key=scores.get)
    assert best == 0.05  # neither end of the range
    assert [made["tuned"] for made in rows] == [{"regularization": best, "isotropic": True}] * 2
    (choice,) = json.loads((tmp_path / "tuning.json").read_text())["choices"]
    assert choice["chosen"] == {"regularization": best, "isotropic": True}
    tried = {entry["options"]["regularization"]: entry["score"] for entry in choice["tried"]}
    assert tried == pytest.approx(scores)
    before = stamps(tmp_path / "tuning")
    assert len(before) == 6
    run_benchmark(replace(benchmark, protocols=("fastmri", "slice")), tmp_path)
    assert stamps(tmp_path / "tuning") == before
    text = (tmp_path / "table.md").read_text()
    assert "* tv, uniform1d x2: regularization 0.05; isotropic True\n" in text
    worse = replace(method, tune={"regularization": [0.05, 0.5, 5.0]})
    run_benchmark(replace(benchmark, methods=(worse,)), tmp_path)
    assert "0.05, at the end of the values tried" in (tmp_path / "table.md").read_text()


def test_where_tuning_fails_the_cell_says_so(folder, tmp_path):
    poisson = MaskEntry(kind="poisson", acceleration=4, center_size=12)
    tuning = Tuning(scans=[str(folder / "tuning")], middle=1, limit=1)
    options = {"levels": 2, "sigma_min": 0.05, "coils": "joint"}
    method = MethodEntry(method="ddrm", options=options, tune={"eta": [0.5, 1.0]})
    benchmark = small(folder, masks=(poisson,), methods=(method,), tuning=tuning)
    rows = rows_of(benchmark, tmp_path)
    assert all("tuning failed with every combination" in made["failure"] for made in rows)


def test_added_noise_has_the_level_asked_for():
    scan = simulate_scan(shepp_logan((96, 96)).numpy(), coils=3, snr=50.0).scan
    noisy, std = add_noise(scan, 0.05, 4)
    assert std == pytest.approx(0.05 * volume_scale(scan))
    added = noisy.kspace(0) - scan.kspace(0)
    for part in (added.real, added.imag):
        assert float(part.std()) == pytest.approx(std, rel=0.02)  # 27648 samples: 0.4 %
    growth = noisy.noise_covariance - scan.noise_covariance
    assert torch.allclose(growth, 2 * std**2 * torch.eye(3, dtype=growth.dtype))
    assert torch.equal(add_noise(scan, 0.05, 4)[0].kspace(0), noisy.kspace(0))
    assert not torch.equal(add_noise(scan, 0.05, 5)[0].kspace(0), noisy.kspace(0))
    assert add_noise(scan, 0.0, 4) == (scan, 0.0)
    mask = make_mask("uniform1d", (96, 96), 4, center_fraction=0.1, seed=0)
    sparse, _ = add_noise(scan.undersample(mask), 0.05, 4)
    assert torch.equal(sparse.mask(0), mask) and not bool(sparse.kspace(0)[:, ~mask].any())


def test_noise_levels_are_rows_of_their_own(folder, tmp_path):
    rows = rows_of(small(folder, noise=(0.0, 0.3)), tmp_path)
    clean, noisy = (made["fastmri_psnr"] for made in rows[:2])
    assert noisy < clean - 1
    assert "uniform1d x2, noise 0.3" in (tmp_path / "table.md").read_text()


def test_simulated_scans(tmp_path, folder):
    sources = simulated_scans([{"image": "embedded", "coils": 4, "snr": 30.0, "name": "brain"}], 1)
    (made,) = rows_of(small(folder, scans=tuple(sources)), tmp_path)
    assert made["scan"] == "brain" and made["coils"] == 4 and made["failure"] is None
    other = simulated_scans([{"image": "embedded", "coils": 5, "snr": 30.0, "name": "brain"}], 1)
    (again,) = rows_of(small(folder, scans=tuple(other)), tmp_path)
    assert again["coils"] == 5


def test_masks_of_the_leaderboard_follow_the_name_of_the_file(folder, tmp_path):
    entry = MaskEntry.of(
        {"kind": "fastmri_random", "acceleration": 2, "center_fraction": 0.3, "seed": "file"}
    )
    rows = rows_of(small(folder, masks=(entry,)), tmp_path)
    record = json.loads((tmp_path / "cells" / f"{rows[0]['cell']}.json").read_text())
    assert record["mask"]["seed"] == list(fastmri_seed("scan0.h5"))
    assert rows[0]["mask_seed"] == "file"


@pytest.mark.parametrize("kind", MASKS)
def test_center_size_gives_so_many_columns_or_such_a_square(kind):
    shape = (48, 48) if kind == "paper_gaussian2d" else (40, 58)
    fraction = MaskSpec(kind, 3, center_size=9).fraction(shape)
    mask = make_mask(kind, shape, 3, center_fraction=fraction, seed=1).numpy()
    row, column = (n // 2 for n in shape)
    if kind.endswith("2d") or kind == "poisson":
        assert kind == "paper_gaussian2d" or mask[row - 4 : row + 5, column - 4 : column + 5].all()
    else:
        assert mask[:, column - 4 : column + 5].all()


def test_every_mask_seed_and_sampler_seed_is_a_cell(folder, tmp_path):
    mask = replace(MASK, seeds=(0, 5))
    options = {"levels": 2, "sigma_min": 0.05}
    method = MethodEntry.of({"method": "dds", "options": options, "seeds": [1, 2]}, {})
    rows = rows_of(small(folder, masks=(mask,), methods=(method,)), tmp_path)
    assert [(made["mask_seed"], made["seed"]) for made in rows] == [
        (0, 1),
        (0, 2),
        (5, 1),
        (5, 2),
    ] * 2
    assert len({made["fastmri_psnr"] for made in rows}) == 8
    assert all(made["network_evaluations"] == 2 for made in rows)
    entry = means_of(read_table(tmp_path), "fastmri_psnr").loc[("uniform1d x2", 0.0, "dds")]
    assert entry["mean"] == pytest.approx(np.mean([made["fastmri_psnr"] for made in rows]))
    assert entry["std"] == pytest.approx(np.std([made["fastmri_psnr"] for made in rows], ddof=1))


@dataclass(frozen=True)
class Blurred:
    """Somebody's own method."""

    share: float = 0.5

    def solve(self, batch):
        return [self.share * problem.operator.H(problem.kspace) for problem in batch]


def test_methods_of_ones_own_stand_beside_those_by_name(folder, tmp_path):
    adjoint = MethodEntry(method="adjoint")
    methods = (
        adjoint,
        MethodEntry(method=Blurred(share=1.0)),
        MethodEntry(method=Blurred, name="half"),
    )
    rows = rows_of(small(folder, methods=methods), tmp_path)
    assert [made["method"] for made in rows[:3]] == ["adjoint", "Blurred", "half"]
    assert [made["method_kind"] for made in rows[:3]] == ["adjoint", "Blurred", "Blurred"]
    named, own, half = (made["fastmri_psnr"] for made in rows[:3])
    assert own == pytest.approx(named, rel=1e-5) and half < own - 1
    record = json.loads((tmp_path / "cells" / f"{rows[2]['cell']}.json").read_text())
    assert record["request"]["method"] == {"name": "Blurred", "share": 0.5}
    before = stamps(tmp_path / "cells")
    written = (
        adjoint,
        MethodEntry(method=Blurred()),
        MethodEntry(method=mr.methods.Adjoint, name="a"),
    )
    again = rows_of(small(folder, methods=written), tmp_path)
    assert (
        stamps(tmp_path / "cells") == before
    )  # told by name and parameters, however they are given
    assert again[1]["cell"] == rows[2]["cell"] and again[2]["cell"] == rows[0]["cell"]
    tuning = Tuning(scans=[str(folder / "tuning")], middle=1, limit=1)
    tried = MethodEntry(method=Blurred, tune={"share": [0.5, 0.9, 0.1]})
    (best, _) = rows_of(small(folder, methods=(tried,), tuning=tuning), tmp_path)
    assert best["tuned"] == {"share": 0.9}
    with pytest.raises(
        ValueError, match=r"method Blurred: .*has no option 'shar': did you mean share\?"
    ):
        MethodEntry(method=Blurred, options={"shar": 1.0})
    with pytest.raises(
        ValueError, match="method is 3: give the name of one, an object with `solve`, or a function"
    ):
        MethodEntry(method=3)


def test_heads_are_judged_alone_and_without_scalp(folder, tmp_path):
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    radius = np.hypot(y, x)
    skull = (radius > 0.65) & (radius < 0.75)
    image = torch.from_numpy(np.where(skull | (radius > 0.9), 0.02, 1.0 - 0.3 * (radius < 0.2)))[
        None
    ]
    head, brain = find_head(image), find_brain(image)
    assert torch.equal(head[0], torch.from_numpy(radius <= 0.9))
    assert torch.equal(brain[0], torch.from_numpy(radius <= 0.65))
    assert not find_head(torch.zeros(1, 32, 32)).any() and not find_brain(image * 0).any()
    whole, inside = (
        rows_of(small(folder, support=support), tmp_path)[0] for support in (False, "head")
    )
    scan = read_scan(folder / "test" / "scan0.h5").select(slice(1, 2))
    zero_filled = reconstructed("zero_filled", scan.undersample(MASK.draw(SHAPE, 0))).image[0].abs()
    target = scan.reference(0)[None]
    expected = evaluate(zero_filled, target, support=find_head(target))
    assert inside["fastmri_psnr"] == expected.psnr != whole["fastmri_psnr"]
    assert "inside the head" in (tmp_path / "table.md").read_text()


def test_maps_are_charged_to_every_method_that_uses_them(folder, tmp_path, monkeypatch):
    from mrirecon.benchmark import solve

    class Slow(solve.SharedMaps):
        def __call__(self, scan, index, device):
            if index not in self._maps:
                self.seconds += 100.0
            return super().__call__(scan, index, device)

    monkeypatch.setattr(solve, "SharedMaps", Slow)
    methods = tuple(MethodEntry(method=name) for name in ("adjoint", "cg_sense", "zero_filled"))
    rows = rows_of(small(folder, methods=methods), tmp_path)
    charged = [made["seconds_per_slice"] for made in rows]
    assert charged[1] > 100 and charged[2] < 50


def test_sources_of_a_folder(folder, tmp_path):
    for number in range(7):
        (tmp_path / f"s{number}.h5").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("no scan")
    names = [source.name for source in find_scans([str(tmp_path)], limit=3)]
    assert names == ["s1", "s3", "s5"]
    both = find_scans([str(folder / "test"), str(folder / "test" / "scan0.h5")])
    assert len(both) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "s1.h5").write_bytes(b"x")
    same = find_scans([str(tmp_path / "s1.h5"), str(tmp_path / "other")])
    assert [source.name for source in same] == [str(source.path) for source in same]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": ["poisson"], "acceleration": 4}, r"kind is \['poisson'\]: it takes a text"),
        ({"kind": "poisson", "acceleration": 4, "seeds": [1, 1]}, "seed 1 is there twice"),
        ({"kind": "poisson", "acceleration": 4, "elliptical": 3}, "elliptical is 3: it takes true"),
        ("poisson", "masks: 'poisson' is none of them"),
    ],
)
def test_masks_that_are_none(values, words):
    with pytest.raises(ValueError, match=words):
        MaskEntry.of(values)


def test_one_entry_stands_for_every_sampler():
    options, weights = {"samples": 1, "levels": 7}, {"prior": "mine.safetensors", "dps": "other"}
    listed = [{"method": "tv"}, {"method": "samplers", "options": options, "seeds": [3]}]
    written = [{**listed[1], "method": name} for name in SAMPLERS]
    assert method_entries(listed, weights) == [
        MethodEntry.of(values, weights) for values in (listed[0], *written)
    ]
    with pytest.raises(ValueError, match=r"method score_mri: .*has no option 'iterations'"):
        method_entries([{"method": "samplers", "options": {"iterations": 3}}], {})


def test_null_is_left_out():
    values = {"kind": "poisson", "acceleration": 4, "seeds": None, "seed": 3, "name": None}
    assert MaskEntry.of(values) == MaskEntry.of({"kind": "poisson", "acceleration": 4, "seed": 3})
    assert MethodEntry.of({"method": "dds", "seeds": None}, {}) == MethodEntry.of(
        {"method": "dds"}, {}
    )


def test_what_would_count_twice(folder):
    with pytest.raises(ValueError, match="method dds: seed 2 is there twice"):
        MethodEntry.of({"method": "dds", "seeds": [2, 2]}, {})
    scan = Source(path="embedded", name="brain", simulation={})
    with pytest.raises(ValueError, match="two scans are called brain"):
        small(folder, scans=(scan, replace(scan, simulation={"coils": 4})))


def test_the_configuration_in_the_docs_is_one():
    text = (Path(__file__).parents[1] / "docs" / "benchmark.md").read_text()
    settings = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    known = {*inspect.signature(benchmark_command).parameters, *(f.name for f in fields(Benchmark))}
    assert set(settings) <= known
    for values in settings["masks"]:
        assert MaskEntry.of(values).name == values.get("name", MaskEntry.of(values).name)
    entries = method_entries(settings["methods"], settings["weights"])
    assert len(entries) == len(settings["methods"]) - 1 + len(SAMPLERS)
    Tuning(**settings["tuning"])


def test_masks_are_drawn_over_what_the_scan_covers(folder, tmp_path):
    """An elliptical k-space without a header: x4 is x4, and the scan itself counts as fully sampled."""
    y, x = ((np.arange(n) - n // 2) / (n / 2) for n in SHAPE)
    scan = read_scan(folder / "test" / "scan0.h5")
    kspace = np.stack([scan.kspace(index).numpy() for index in range(scan.shape[0])])
    np.save(tmp_path / "ellipse.npy", kspace * (y[:, None] ** 2 + x**2 <= 1))
    masks = (
        *(MaskEntry(kind=kind, acceleration=4) for kind in ("gaussian1d", "gaussian2d", "poisson")),
        MaskEntry(kind="uniform1d", acceleration=4, center_size=6),
        MaskEntry(kind="fastmri_random", acceleration=4),
    )
    sources = tuple(find_scans([str(tmp_path / "ellipse.npy")], 1))
    rows = rows_of(small(folder, scans=sources, masks=masks), tmp_path / "table")
    assert [row["failure"] for row in rows] == [None] * len(masks)
    reached = [row["acceleration_achieved"] for row in rows]
    assert reached[:4] == pytest.approx([4] * 4, rel=0.05)
    records = [json.loads(path.read_text()) for path in (tmp_path / "table" / "cells").iterdir()]
    for record in records:
        said = any("4 was asked for" in note for note in record["notes"])
        assert said == (abs(record["acceleration"]["achieved"] / 4 - 1) > 0.03)
