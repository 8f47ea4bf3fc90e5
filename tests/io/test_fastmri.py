import json
import multiprocessing
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mrirecon.geometry import Geometry
from mrirecon.io import read_scan, write_scan
from mrirecon.tensors import ifft2c, rss

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>
<H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>
<encodedSpace><matrixSize><x>{x}</x><y>{y}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{fx}</x><y>{fy}</y><z>7.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{rx}</x><y>{ry}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{rfx}</x><y>{rfy}</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{maximum}</maximum>
<center>{center}</center></kspace_encoding_step_1></encodingLimits>
<trajectory>{trajectory}</trajectory></encoding></ismrmrdHeader>"""


def header(x, y, rx, ry, *, left=0, right=None, pixel=0.5, trajectory="cartesian"):
    right = y if right is None else right
    return HEADER.format(
        x=x,
        y=y,
        rx=rx,
        ry=ry,
        fx=x * pixel,
        fy=y * pixel,
        rfx=rx * pixel,
        rfy=ry * pixel,
        center=y // 2 - left,
        maximum=right - left - 1,
        trajectory=trajectory,
    )


def fastmri_file(path, shape, recon, *, xml=None, mask=None, target=True, padding=None, seed=1234):
    """A file laid out as the public generator of test data lays them out; singlecoil when shape has three axes."""
    rng = np.random.default_rng(seed)
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    if padding is not None:
        kspace[..., : padding[0]] = 0
        kspace[..., padding[1] :] = 0
    if mask is not None:
        kspace = kspace * mask
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if xml is not None:
            file["ismrmrd_header"] = xml
        if mask is not None:
            file["mask"] = mask
        file.attrs["acquisition"] = "AXT1"
        file.attrs["patient_id"] = (
            "0beb8905d9b7fad304389b9d4263c57d5b069257ea0fdc5bf7f2675608b47406"
        )
        if target:
            name = "reconstruction_rss" if len(shape) == 4 else "reconstruction_esc"
            image = np.abs(rng.normal(size=(shape[0], *recon))).astype(np.float32)
            file[name] = image
            file.attrs["max"] = image.max()
            file.attrs["norm"] = np.linalg.norm(image)
    return kspace


def official(path, challenge, transform=None):
    """The file as `fastmri.data.SliceDataset` serves it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmri.data import SliceDataset
    folder = path.parent
    return SliceDataset(root=folder, challenge=challenge, transform=transform)


@pytest.mark.parametrize(
    ("challenge", "shape", "recon", "padding"),
    [
        ("multicoil", (3, 4, 128, 64), (64, 64), (0, 64)),
        ("multicoil", (2, 5, 128, 49), (49, 49), (3, 45)),
        ("multicoil", (2, 3, 150, 67), (67, 67), (9, 67)),
        ("multicoil", (2, 1, 170, 57), (57, 47), (0, 50)),
        ("singlecoil", (3, 128, 64), (64, 64), (5, 59)),
        ("singlecoil", (2, 96, 96), (95, 95), (0, 96)),
    ],
)
def test_agrees_with_the_official_dataset(tmp_path, challenge, shape, recon, padding):
    path = tmp_path / "file0.h5"
    left, right = padding
    xml = header(*shape[-2:], *recon, left=left, right=right)
    fastmri_file(path, shape, recon, xml=xml, padding=padding)
    scan = read_scan(path)
    dataset = official(path, challenge)
    assert scan.format == "fastmri" and scan.shape[0] == len(dataset) == shape[0]
    for index, (kspace, mask, target, attributes, _, _) in enumerate(dataset):
        assert mask is None
        np.testing.assert_array_equal(scan.kspace(index).numpy().reshape(kspace.shape), kspace)
        assert scan.reference is not None
        np.testing.assert_array_equal(scan.reference(index).numpy(), target)
        columns = np.zeros(shape[-1], bool)
        columns[attributes["padding_left"] : attributes["padding_right"]] = True
        np.testing.assert_array_equal(scan.acquired.numpy(), np.tile(columns, (shape[-2], 1)))
        for name in ("max", "norm", "acquisition", "patient_id"):
            assert scan.attributes[name] == attributes[name]
    assert scan.geometry.voxel_mm == (0.5, 0.5, 5.0)  # thickness of reconSpace
    assert not scan.geometry.known and "assumed" in scan.geometry.note
    assert scan.oversampling == pytest.approx(shape[-2] / recon[0], abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(4, 20), columns=st.integers(4, 20), r=st.integers(2, 20), c=st.integers(2, 24)
)
def test_the_window_is_that_of_the_official_transform(tmp_path_factory, rows, columns, r, c):
    """Odd and even sizes, and k-space narrower than asked (series FLAIR 203)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmri.data.transforms import UnetDataTransform
    assume(r <= rows and not c > columns > rows)  # the official crop refuses these
    path = tmp_path_factory.mktemp("crop") / "file0.h5"
    fastmri_file(path, (1, 2, rows, columns), (r, c), xml=header(rows, columns, r, c), target=False)
    sample = official(path, "multicoil", UnetDataTransform("multicoil"))[0]
    truth = (sample.image * (sample.std + 1e-11) + sample.mean).numpy()
    scan = read_scan(path)
    image = rss(scan.to_output(ifft2c(scan.kspace(0)))).numpy()
    assert image.shape == truth.shape == scan.matrix
    clamped = np.abs((truth - truth.mean()) / truth.std()) > 5.5
    np.testing.assert_allclose(image[~clamped], truth[~clamped], rtol=1e-3, atol=1e-4)


def test_pixels_need_not_be_square(tmp_path):
    """FOV over matrix along each axis by itself."""
    sizes = {"x": 32, "y": 24, "rx": 16, "ry": 24, "fx": 16.0, "fy": 18.0, "rfx": 8.0, "rfy": 18.0}
    xml = HEADER.format(**sizes, center=12, maximum=23, trajectory="cartesian")
    fastmri_file(tmp_path / "a.h5", (2, 3, 32, 24), (16, 24), xml=xml)
    assert read_scan(tmp_path / "a.h5").geometry.voxel_mm == (0.5, 0.75, 5.0)


def test_flair_203_target_decides_the_window_and_the_grid_the_voxel(tmp_path):
    """The header of that series describes the vendor's interpolated image; the target has k-space's pixels."""
    path = tmp_path / "file0.h5"
    xml = HEADER.format(
        x=48, y=21, fx=48 * 0.86, fy=21 * 0.86, rx=48, ry=48, rfx=24 * 0.86, rfy=24 * 0.86,
        center=10, maximum=20, trajectory="cartesian",
    )  # fmt: skip
    fastmri_file(path, (2, 3, 48, 21), (21, 21), xml=xml)
    scan = read_scan(path)
    assert scan.matrix == (21, 21)
    assert scan.crop == (slice(13, 34), slice(0, 21))
    assert scan.geometry.voxel_mm == pytest.approx((0.86, 0.86, 5.0))
    assert scan.oversampling == pytest.approx(2.0)


def test_test_set_mask_and_padding_are_those_of_the_official_transform(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmri.data.transforms import VarNetDataTransform
    path = tmp_path / "file0.h5"
    mask = np.random.default_rng(0).integers(0, 2, 40).astype(np.float32)
    mask[:8] = 1  # sampled "on paper" in the zero padding too
    xml = header(30, 40, 20, 20, left=4, right=37)
    fastmri_file(path, (2, 3, 30, 40), (20, 20), xml=xml, mask=mask, target=False, padding=(4, 37))
    scan = read_scan(path)
    assert not any("exactly 0" in note or "believed" in note for note in scan.notes)
    for index, sample in enumerate(official(path, "multicoil", VarNetDataTransform())):
        expected = sample.mask.numpy().reshape(-1).astype(bool)
        expected[:4] = expected[37:] = False
        np.testing.assert_array_equal(scan.mask(index).numpy(), np.tile(expected, (30, 1)))
        official_kspace = torch.view_as_complex(sample.masked_kspace).numpy()
        np.testing.assert_array_equal(
            scan.kspace(index).numpy()[..., 4:37], official_kspace[..., 4:37]
        )


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_without_header_geometry_is_unknown(tmp_path, dtype):
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"] = np.ones((2, 3, 6, 5), dtype)
    scan = read_scan(tmp_path / "k.h5")
    assert scan.matrix == (6, 5) and scan.geometry.voxel_mm is None
    assert bool(scan.acquired.all()) and scan.header is None
    assert scan.kspace(0).dtype == torch.complex64
    assert any("no header" in note for note in scan.notes)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"image": np.ones(3), "other": np.ones(3)}, "neither 'kspace' .* it has image, other"),
        ({}, "it has nothing"),
        ({"kspace": np.ones((2, 4, 4))}, "real-valued"),
        ({"kspace": np.ones((2, 4, 4, 2))}, "real and imaginary part"),
        ({"kspace": np.ones((4, 4), "c8")}, "two-dimensional"),
        ({"kspace": np.ones((2, 3, 1, 1), "c8")}, "1 x 1"),
        ({"kspace": np.zeros((2, 3, 4, 4), "c8")}, "all zero"),
        ({"kspace": np.zeros((2, 3, 4, 4), [("a", "f4"), ("b", "f4")])}, "record of a, b"),
        ({"kspace/nested": np.ones((2, 3, 4, 4), "c8")}, "'kspace' is a group"),
        ({"kspace": np.ones((2, 3, 4, 5), "c8"), "mask": np.ones(4)}, "4 columns, k-space has 5"),
        ({"kspace": np.ones((2, 3, 4, 5), "c8"), "mask": np.full(5, 2)}, "only 0 and 1"),
        (
            {"kspace": np.ones((2, 3, 4, 5), "c8"), "reconstruction_rss": np.ones((3, 4, 4))},
            "same number of slices",
        ),
        ({"kspace": np.ones((2, 3, 4, 5), "c8"), "ismrmrd_header": "no xml"}, "not valid XML"),
        ({"kspace": np.ones((2, 3, 4, 5), "c8"), "ismrmrd_header": 5}, "ismrmrd_header is no text"),
        *(
            (
                {
                    "kspace": np.ones((2, 3, 4, 5), "c8"),
                    "ismrmrd_header": header(4, 5, 4, 4, left=left, right=right),
                },
                "of 5 phase-encoding columns ismrmrd_header has none acquired",
            )
            for left, right in ((-(10**9), -(10**9) + 5), (9, 12), (2, -3))
        ),
        (
            {"kspace": np.ones((2, 3, 4, 5), "c8"), "ismrmrd_header": header(4, 6, 4, 4)},
            "header has 6 phase-encoding columns, kspace 5",
        ),
        (
            {
                "kspace": np.ones((2, 3, 4, 5), "c8"),
                "ismrmrd_header": header(4, 5, 4, 4, trajectory="radial"),
            },
            "only Cartesian",
        ),
    ],
)
def test_files_that_cannot_be_read(tmp_path, datasets, message):
    path = tmp_path / "k.h5"
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name] = value
    with pytest.raises(ValueError, match=message) as caught:
        read_scan(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 4, 0), (2, 0, 0), (0,)])
def test_an_empty_target_is_no_reference(tmp_path, shape):
    kspace = np.ones((2, 3, 6, 5), np.complex64)
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"], file["reconstruction_rss"] = kspace, np.ones(shape)
    scan = read_scan(tmp_path / "k.h5")
    assert (scan.reference, scan.matrix, scan.crop) == (None, (6, 5), (slice(0, 6), slice(0, 5)))
    size = " x ".join(map(str, shape))
    assert f"reconstruction_rss is {size}: it is no reference" in scan.notes
    np.testing.assert_array_equal(scan.kspace(0), kspace[0])


def test_no_file_stays_open_and_forked_workers_read_the_same(tmp_path):
    path = tmp_path / "k.h5"
    kspace = fastmri_file(path, (4, 2, 8, 8), (8, 8), xml=header(8, 8, 8, 8))
    scan = read_scan(path)
    descriptors = Path("/proc/self/fd")
    if descriptors.exists():
        before = len(list(descriptors.iterdir()))
        for _ in range(20):
            scan.kspace(1)
        assert len(list(descriptors.iterdir())) == before
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    worker = context.Process(target=lambda: answers.put(scan.kspace(3).numpy().tobytes()))
    worker.start()
    assert answers.get() == kspace[3].tobytes()
    worker.join()


def test_writes_what_the_official_dataset_reads(tmp_path, make_scan):
    acquired = torch.ones(20, 16, dtype=torch.bool)
    acquired[:, :2] = acquired[:, 13:] = False
    columns = np.arange(16) % 3 == 0
    columns[:2] = columns[13:] = False
    target = torch.rand(3, 10, 8, generator=torch.Generator().manual_seed(0))
    scan, kspace = make_scan(
        (3, 4, 20, 16),
        columns=columns,
        acquired=acquired,
        crop=(slice(5, 15), slice(4, 12)),
        matrix=(10, 8),
        geometry=Geometry(voxel_mm=(1.5, 2.0, 4.0)),
        reference=lambda index: target[index],
        attributes={"acquisition": "AXT2", "te_ms": (10.0, 20.0), "other": {"a": None}},
    )
    path = tmp_path / "file0.h5"
    assert write_scan(scan, path) == ()
    for index, (k, mask, image, attributes, _, _) in enumerate(official(path, "multicoil")):
        np.testing.assert_array_equal(k, kspace[0, index].numpy())
        np.testing.assert_array_equal(mask, columns)
        np.testing.assert_array_equal(image, target[index].numpy())
        assert attributes["padding_left"] == 2 and attributes["padding_right"] == 13
        assert attributes["encoding_size"] == (20, 16, 1)
        assert attributes["recon_size"] == (10, 8, 1)
        assert attributes["acquisition"] == "AXT2"
        assert list(attributes["te_ms"]) == [10.0, 20.0] and attributes["other"] == '{"a": null}'
        assert attributes["max"] == pytest.approx(float(target.max()))
        assert attributes["norm"] == pytest.approx(float(target.norm()))


def test_header_written_is_valid_and_carries_the_numbers(tmp_path, make_scan):
    import ismrmrd

    scan, _ = make_scan(
        (3, 4, 20, 16),
        crop=(slice(5, 15), slice(4, 12)),
        matrix=(10, 8),
        geometry=Geometry(voxel_mm=(1.5, 2.0, 4.0)),
    )
    write_scan(scan, tmp_path / "k.h5")
    with h5py.File(tmp_path / "k.h5") as file:
        encoding = ismrmrd.xsd.CreateFromDocument(file["ismrmrd_header"][()]).encoding[0]
        assert "mask" not in file
    encoded, recon = encoding.encodedSpace, encoding.reconSpace
    assert (encoded.fieldOfView_mm.x, encoded.fieldOfView_mm.y) == (30.0, 32.0)
    assert (recon.fieldOfView_mm.x, recon.fieldOfView_mm.y) == (15.0, 16.0)
    assert recon.fieldOfView_mm.z == 4.0
    assert encoding.encodingLimits.slice.maximum == 2


def test_round_trip_keeps_what_the_layout_cannot_hold(tmp_path, make_scan):
    rng = np.random.default_rng(3)
    acquired = torch.ones(20, 16, dtype=torch.bool)
    acquired[:3] = False  # partial echo: rows, which no fastMRI header can say
    calibration = torch.zeros(3, 4, 20, 16, dtype=torch.complex64)
    calibration[..., 6:10] = 1 + 2j
    covariance = torch.eye(4, dtype=torch.complex64) * 2
    geometry = Geometry(
        voxel_mm=(1.5, 2.0, 4.0),
        directions=((1.0, 0.0, 0.0), (0.0, 0.6, 0.8), (0.0, -0.8, 0.6)),
        centers_mm=((0.0, 1.0, 2.0), (0.0, 1.0, 6.0), (0.0, 1.0, 10.0)),
        note="a note",
    )
    target = torch.from_numpy(rng.random((3, 9, 30)).astype(np.float32))
    scan, kspace = make_scan(
        (3, 4, 20, 16),
        columns=acquired.numpy(),
        acquired=acquired,
        crop=(slice(6, 15), slice(1, 16)),
        matrix=(9, 30),  # interpolated
        geometry=geometry,
        oversampling=2.0,
        noise_covariance=covariance,
        calibration=lambda volume, index: calibration[index],
        reference=lambda index: target[index],
    )
    write_scan(scan, tmp_path / "k.h5")
    again = read_scan(tmp_path / "k.h5")
    assert again.geometry == geometry
    for name in ("shape", "crop", "matrix", "oversampling"):
        assert getattr(again, name) == getattr(scan, name)
    assert torch.equal(again.acquired, acquired)
    assert torch.equal(again.noise_covariance, covariance)
    for index in range(3):
        assert torch.equal(again.kspace(index), kspace[0, index])
        assert torch.equal(again.mask(index), scan.mask(index))
        assert torch.equal(again.calibration(0, index), calibration[index])
        assert torch.equal(again.reference(index), target[index])


def test_single_coil_is_written_in_the_singlecoil_layout(tmp_path, make_scan):
    target = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(0))
    scan, kspace = make_scan((3, 1, 6, 5), reference=lambda index: target[index])
    write_scan(scan, tmp_path / "file0.h5")
    for index, sample in enumerate(official(tmp_path / "file0.h5", "singlecoil")):
        np.testing.assert_array_equal(sample[0], kspace[0, index, 0].numpy())
        np.testing.assert_array_equal(sample[2], target[index].numpy())


def test_masks_that_differ_between_slices_live_in_the_zeros(tmp_path, make_scan):
    masks = np.random.default_rng(0).integers(0, 2, (3, 1, 6, 5)).astype(bool)
    scan, _ = make_scan(columns=masks)
    write_scan(scan, tmp_path / "k.h5")
    with h5py.File(tmp_path / "k.h5") as file:
        assert "mask" not in file
    again = read_scan(tmp_path / "k.h5")
    for index in range(3):
        np.testing.assert_array_equal(again.mask(index).numpy(), masks[index, 0])


def test_the_original_header_is_kept_while_it_fits(tmp_path):
    xml = header(30, 40, 20, 20, left=4, right=37)
    fastmri_file(tmp_path / "a.h5", (2, 3, 30, 40), (20, 20), xml=xml, padding=(4, 37))
    scan = read_scan(tmp_path / "a.h5")
    write_scan(scan, tmp_path / "b.h5")
    assert read_scan(tmp_path / "b.h5").header == xml
    write_scan(replace(scan, acquired=torch.ones(30, 40, dtype=torch.bool)), tmp_path / "c.h5")
    changed = read_scan(tmp_path / "c.h5")
    assert changed.header != xml and bool(changed.acquired.all())


def test_own_group_that_does_not_fit_is_refused(tmp_path, make_scan):
    scan, _ = make_scan()
    write_scan(scan, tmp_path / "k.h5")
    with h5py.File(tmp_path / "k.h5", "a") as file:
        del file["mrirecon/geometry"]
        file["mrirecon/geometry"] = json.dumps({"unknown": 1})
    with pytest.raises(ValueError, match=r"k.h5: mrirecon/geometry: it must hold voxel_mm"):
        read_scan(tmp_path / "k.h5")


CHANNELS = (
    "<acquisitionSystemInformation><receiverChannels>{}</receiverChannels>"
    "</acquisitionSystemInformation><encoding>"
)


def with_channels(xml, coils):
    return xml.replace("<encoding>", CHANNELS.format(coils))


def written(path, shape, xml):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["kspace"] = rng.normal(size=shape) + 1j
        file["ismrmrd_header"] = xml
    return path


def test_a_header_of_the_transposed_array_names_the_order(tmp_path):
    path = written(tmp_path / "k.h5", (3, 4, 10, 16), header(16, 10, 16, 10))
    with pytest.raises(ValueError, match="delete it"):
        read_scan(path)
    path = written(tmp_path / "k.h5", (3, 4, 10, 16), with_channels(header(16, 10, 16, 10), 4))
    with pytest.raises(ValueError, match=r"swapped, .* --axes slice,coil,phase,readout") as caught:
        read_scan(path)
    assert "delete" not in str(caught.value)
    scan = read_scan(path, axes="slice,coil,phase,readout")
    assert scan.shape == (3, 4, 16, 10) and scan.geometry.voxel_mm[:2] == (0.5, 0.5)


def test_coils_last_and_coils_before_slices(tmp_path):
    xml = with_channels(header(16, 10, 16, 10), 4)
    with pytest.raises(ValueError, match=r"swapped, .* --axes slice,readout,phase,coil"):
        read_scan(written(tmp_path / "k.h5", (3, 16, 10, 4), xml))
    scan = read_scan(written(tmp_path / "k.h5", (4, 3, 16, 10), xml))
    assert any("4 receiver channels" in n and "coil,slice,readout,phase" in n for n in scan.notes)
    scan = read_scan(tmp_path / "k.h5", axes="coil,slice,readout,phase")
    assert scan.shape == (3, 4, 16, 10) and not any("receiver" in note for note in scan.notes)


def test_a_coil_count_that_no_order_explains_is_said(tmp_path):
    """After coil compression, for instance; of emulated single-coil files the header counts the channels behind it."""
    xml = with_channels(header(16, 10, 16, 10), 15)
    scan = read_scan(written(tmp_path / "k.h5", (3, 4, 16, 10), xml))
    assert "the header has 15 receiver channels, k-space 4 coils: k-space is believed" in scan.notes
    assert not any(
        "receiver" in n for n in read_scan(written(tmp_path / "s.h5", (3, 16, 10), xml)).notes
    )


def test_coils_of_one_slice_are_not_read_as_slices_in_silence(tmp_path):
    xml = with_channels(header(16, 10, 16, 10), 4)
    scan = read_scan(written(tmp_path / "k.h5", (4, 16, 10), xml))
    assert any(note.endswith("give --axes coil,readout,phase") for note in scan.notes)


def test_zero_padding_of_the_header_is_about_the_middle_wherever_the_array_begins(tmp_path):
    xml = header(8, 12, 8, 12, left=2, right=9)
    path = tmp_path / "k.h5"
    fastmri_file(path, (2, 3, 8, 12), (8, 12), xml=xml, target=False, padding=(2, 9))
    with h5py.File(path, "r+") as file:
        kspace = file["kspace"][()]
        file["kspace"][...] = np.fft.ifftshift(kspace, axes=-1)
    scan = read_scan(path, kspace_centre="middle,corner")
    assert scan.acquired[0].tolist() == [2 <= column < 9 for column in range(12)]
    np.testing.assert_array_equal(scan.kspace(0).numpy(), kspace[0])
