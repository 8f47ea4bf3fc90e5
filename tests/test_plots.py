"""What `plot` and `show` draw: which pixels where, at which window, under which title."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import mrirecon as mr
from mrirecon.phantom import shepp_logan
from mrirecon.plots import decibels, montage


@pytest.fixture(autouse=True)
def unseen():
    from matplotlib import pyplot

    backend = pyplot.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(backend)


@pytest.fixture(scope="module")
def scan():
    image = shepp_logan((24, 20)).numpy()[:, :, None] * np.linspace(1, 0.5, 4)
    return mr.simulate_scan(image.astype(np.float32), coils=3, snr=60.0).scan


@pytest.fixture(scope="module")
def volume(scan):
    return mr.reconstruct(scan, method="cg_sense", slices="1:4", device="cpu")


def drawn(axes):
    return np.asarray(axes.images[0].get_array())


def upright(image):
    return image.abs().numpy().T[::-1]


def test_a_slice_stands_upright_at_its_number_in_the_scan(volume):
    axes = volume.plot(0, window=(1, 30))
    assert np.array_equal(drawn(axes), upright(volume.image[0, 0]))
    assert axes.get_title() == "cg_sense, slice 1"
    assert axes.images[0].get_clim() == (1, 30)
    assert volume.plot(-1).get_title() == "cg_sense, slice 3"
    assert volume.plot().get_title() == "cg_sense, slice 2"


def test_a_montage_goes_by_rows(volume):
    axes = volume.plot(":")
    assert axes.get_title() == "cg_sense, slices 1 to 3"
    shown = drawn(axes)
    y, x = upright(volume.image[0, 0]).shape
    assert shown.shape == (2 * y, 2 * x)
    for index, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        part = shown[row * y : (row + 1) * y, column * x : (column + 1) * x]
        assert np.array_equal(part, upright(volume.image[0, index]))
    assert not shown[y:, x:].any()
    assert montage(torch.arange(2.0)[:, None, None]).tolist() == [[0, 1]]


def test_extras_are_drawn_by_name(volume):
    more = replace(volume, extras={"std": torch.full(volume.image.shape, 2.0)})
    axes = more.plot(extra="std")
    assert (drawn(axes) == 2).all() and axes.get_title() == "cg_sense std, slice 2"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slices": 3}, "no slice 3: give 0 to 2"),
        ({"slices": "5:9"}, "5:9 lie beyond the 3"),
        ({"slices": "a"}, "A:B"),
        ({"extra": "st"}, "no extra 'st'"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(volume, options, words):
    with pytest.raises(ValueError, match=words):
        volume.plot(**options)


def test_a_scan_shows_what_was_measured(scan):
    mask = mr.make_mask("uniform1d", scan.shape[2:], 2, center_fraction=0.25, seed=0)
    less = scan.undersample(mask)
    assert np.array_equal(drawn(less.plot(1, kind="mask")), upright(mask.float()))
    zero_filled = mr.run(mr.methods.ZeroFilled(), less, device="cpu")
    assert np.allclose(drawn(less.plot(1)), upright(zero_filled.image[0, 1]), rtol=1e-4)
    assert np.array_equal(drawn(less.plot(1, kind="reference")), upright(scan.reference(1)))
    assert drawn(scan.plot(1, kind="kspace")).max() == 80
    assert scan.select(slice(2, 4)).plot(0).get_title() == "image, slice 2"
    assert "50 % of the grid" in less._repr_html_() and "<img" in less._repr_html_()


def test_a_notebook_shows_the_slice_by_its_number_and_four_digits(volume):
    known = {"metrics": {"protocol": "fastmri", "psnr": 35.12345}, "data_residual": 0.0123456}
    shown = replace(volume, info={**volume.info, **known})._repr_html_()
    assert "<th>slice</th><td>2</td>" in shown  # the middle one of 1 to 3
    assert "protocol fastmri, psnr 35.12<" in shown and "<td>0.01235</td>" in shown


def test_what_a_scan_cannot_show_is_a_sentence(scan):
    with pytest.raises(ValueError, match="did you mean kspace"):
        scan.plot(kind="kspac")
    with pytest.raises(ValueError, match="has no reference"):
        replace(scan, reference=None).plot(kind="reference")


def test_decibels():
    assert decibels(torch.tensor([[1.0, 0.1, 0.0, 1e-9]])).tolist() == [[80, 60, 0, 0]]


def test_show_stands_images_beside_the_reference_at_one_window(scan, volume, tmp_path):
    path = tmp_path / "cg.npy"
    mr.write_volume(volume, path)
    given = [volume, volume.image[0].numpy() * 0.5, path]
    axes = mr.show(given, scan.select(slice(1, 4)), slice=1)
    assert axes.shape == (2, 4)
    truth = upright(scan.reference(2))
    of_scan = mr.show(volume, scan, slice=1)  # the volume begins with slice 1 of the scan
    assert np.array_equal(drawn(of_scan[0, 0]), truth)
    assert np.array_equal(drawn(axes[0, 0]), truth)
    assert len({one.images[0].get_clim() for one in axes[0]}) == 1
    titles = [one.get_title() for one in axes[0]]
    assert titles[0] == "reference" and titles[1].startswith("cg_sense\n")
    assert titles[2].startswith("image 2\n") and titles[3].startswith("cg.npy\n")
    psnr = mr.evaluate(volume.image[0, 1], scan.reference(2)).psnr
    assert titles[1].endswith(f"\n{psnr:.1f} dB")
    assert np.allclose(drawn(axes[1, 1]), abs(upright(volume.image[0, 1]) - truth), atol=1e-5)
    assert axes[1, 1].images[0].get_clim()[1] == axes[0, 1].images[0].get_clim()[1] / 5


def test_show_without_a_reference(volume):
    axes = mr.show({"one": volume, "half": volume.image * 0.5}, window=(0, 7))
    assert [one.get_title() for one in axes[0]] == ["one", "half"] and axes.shape == (1, 2)
    assert axes[0, 1].images[0].get_clim() == (0, 7)
    assert mr.show(volume, titles=["mine"])[0, 0].get_title() == "mine"


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ([], {}, "no image"),
        ([torch.ones(2, 2)], {"titles": ["a", "b"]}, "2 titles for 1 images"),
        ([torch.ones(2, 8, 8)], {"reference": torch.ones(3, 8, 8)}, "is 2 x 8 x 8, the reference"),
        ([torch.ones(2, 8, 8)], {"slice": 2}, "no slice 2"),
        (torch.ones(3), {}, "is 3: give one volume"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(given, options, words):
    with pytest.raises(ValueError, match=words):
        mr.show(given, **options)


def test_evaluate_takes_what_people_have(scan, volume, tmp_path):
    plain = mr.evaluate(volume.image[0], scan.references()[1:4])
    path = tmp_path / "cg.npy"
    mr.write_volume(volume, path)
    mr.write_scan(scan.select(slice(1, 4)), tmp_path / "scan.h5")
    assert mr.evaluate(volume, scan) == plain
    assert mr.evaluate(volume.image.numpy(), scan.references()[1:4].numpy()) == plain
    again = mr.evaluate(str(path), tmp_path / "scan.h5")
    assert again.psnr == pytest.approx(plain.psnr, abs=1e-3)
    with pytest.raises(ValueError, match="has no reference"):
        mr.evaluate(volume, replace(scan, reference=None))
    with pytest.raises(ValueError, match="give one volume"):
        mr.evaluate(volume.image.repeat(2, 1, 1, 1), scan)
    with pytest.raises(ValueError, match="reconstruction is"):
        mr.evaluate(volume.image[0], scan)
    with pytest.raises(ValueError, match="a <U1 array: give a volume"):
        mr.evaluate(np.array(["a"]), scan)


def test_what_people_print_is_one_line(scan, volume):
    less = scan.undersample(torch.ones(scan.shape[2:]).bool())
    denoiser, card = mr.load_prior("prior_tiny")
    near = mr.methods.base.Neighbours(scan, 0, 0)
    problem = mr.Problem(scan.kspace(0), scan.mask(0), None, 1.0, near)
    solution = mr.Solution(image=volume.image[0, 0])
    network, _ = mr.load_weights("unet_tiny")
    ranking = mr.compare(scan, ["zero_filled"], device="cpu", slices="0:1")
    objects = [
        scan,
        less,
        volume,
        denoiser,
        card,
        card.training,
        problem,
        solution,
        network,
        ranking,
    ]
    objects += [
        scan.geometry,
        mr.Request(),
        mr.MaskSpec("poisson", 4),
        mr.MASKS["poisson"],
        mr.METHODS,
    ]
    objects += [mr.METHODS["dds"](), mr.sense(scan.kspace(0), scan.mask(0)), ranking.results[0]]
    objects += [mr.GivenMaps(scan.kspace(0)[None], "mine"), near]
    for one in objects:
        assert "\n" not in repr(one) and len(repr(one)) < 400, repr(one)[:500]
    assert repr(mr.Request(method="tv", acceleration=4, mask="poisson")) == (
        "Request(method='tv', mask='poisson', acceleration=4)"
    )
    assert repr(solution) == "Solution(image=complex64 24 x 20)"
    assert "kspace=complex64 3 x 24 x 20" in repr(problem)
    assert "parameters" in repr(network) and str(network.size) in repr(network).replace(",", "")


@pytest.mark.parametrize(
    ("terminal", "switch", "given", "shown"),
    [
        (True, None, None, True),
        (False, None, None, False),
        (True, "0", None, False),
        (True, None, False, False),
        (False, "0", True, True),
    ],
)
def test_progress_is_shown_where_somebody_sees_it(
    scan, monkeypatch, capsys, terminal, switch, given, shown
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.delenv("MRIRECON_PROGRESS", raising=False)
    if switch is not None:
        monkeypatch.setenv("MRIRECON_PROGRESS", switch)
    mr.reconstruct(scan, method="zero_filled", progress=given, device="cpu")
    assert ("zero_filled" in capsys.readouterr().err) is shown


def test_a_notebook_has_a_bar(scan, monkeypatch, capsys):
    class ZMQInteractiveShell:
        pass

    from types import SimpleNamespace

    shell = SimpleNamespace(get_ipython=ZMQInteractiveShell)
    monkeypatch.setitem(__import__("sys").modules, "IPython", shell)
    mr.run(mr.methods.ZeroFilled(), scan, device="cpu")
    said = capsys.readouterr().err
    assert "zero_filled: 100%" in said and "4/4" in said
