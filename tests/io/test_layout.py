"""Arrays stored in other ways than usual, mended by `axes`, `kspace_centre`, `image_centre` and `variable`.

Each is made with numpy from a known scan; what is read must be that scan.
"""

import h5py
import numpy as np
import pytest
import torch

from mrirecon.io import read_scan, write_scan
from mrirecon.io.cfl import write_cfl
from mrirecon.io.layout import Layout
from mrirecon.scan import Scan

SIZES = [(3, 4, 18, 20), (2, 3, 17, 19)]  # slice, coil, readout, phase
PLANE = (-2, -1)


def random(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def centred_ifft(k, axes=PLANE):
    shifted = np.fft.ifftshift(k, axes=axes)
    return np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes=axes)


def whole(scan: Scan, volume=0):
    return np.stack([scan.kspace(index, volume).numpy() for index in range(scan.shape[0])])


STORED = {  # how an array is made of centred k-space, and what says so
    "corner": (lambda k: np.fft.ifftshift(k, axes=PLANE), {"kspace_centre": "corner"}),
    "corner, readout": (
        lambda k: np.fft.ifftshift(k, axes=-2),
        {"kspace_centre": "corner,middle"},
    ),
    "corner, phase": (lambda k: np.fft.ifftshift(k, axes=-1), {"kspace_centre": "middle, corner"}),
    "half a FOV off": (
        lambda k: np.fft.fftshift(np.fft.fft2(centred_ifft(k), norm="ortho"), axes=PLANE),
        {"image_centre": "corner"},
    ),
    "half a FOV off, phase": (
        lambda k: np.fft.fftshift(np.fft.fft(centred_ifft(k, (-1,)), norm="ortho"), axes=-1),
        {"image_centre": "middle,corner"},
    ),
    "plain fft2": (
        lambda k: np.fft.fft2(centred_ifft(k), norm="ortho"),
        {"kspace_centre": "corner", "image_centre": "corner"},
    ),
    "image": (centred_ifft, {"axes": "slice,coil,x,y"}),
    "image along the readout": (lambda k: centred_ifft(k, (-2,)), {"axes": "slice,coil,x,phase"}),
    "as in MATLAB": (lambda k: k.transpose(2, 3, 1, 0), {"axes": "readout,phase,coil,slice"}),
    "coils last": (lambda k: np.moveaxis(k, 1, -1), {"axes": "slice,readout,phase,coil"}),
    "phase first": (lambda k: k.swapaxes(-1, -2), {"axes": "slice,coil,phase,readout"}),
}


@pytest.mark.parametrize("shape", SIZES, ids=["even", "odd"])
@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".cfl"])
def test_every_way_of_storing_is_mended(tmp_path, name, shape, suffix):
    kspace, (make, options) = random(shape), STORED[name]
    stored, path = np.ascontiguousarray(make(kspace).astype(np.complex64)), tmp_path / f"k{suffix}"
    if suffix == ".npy":
        np.save(path, stored)
    elif suffix == ".npz":
        np.savez(path, kspace=stored, other=np.ones(3))
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["kspace"] = stored
    else:  # BART's order of the same array, with one dimension of length 1 between
        options = {"axes": "slice,coil,readout,phase", **options}
        dims = dict(zip((0, 1, 3, 5), stored.shape, strict=True))
        write_cfl((path, path.with_suffix(".hdr")), dims, [torch.from_numpy(stored.T.copy())])
    scan = read_scan(path, **options)
    assert scan.shape == shape
    np.testing.assert_allclose(whole(scan), kspace, atol=3e-6)
    assert bool(scan.acquired.all())


def test_one_coil_and_one_slice_need_no_axes_of_length_one(tmp_path):
    kspace = random((18, 20))
    np.save(tmp_path / "k.npy", kspace)
    with pytest.raises(ValueError, match=r"two-dimensional \(18 x 20\).*--axes readout,phase"):
        read_scan(tmp_path / "k.npy")
    scan = read_scan(tmp_path / "k.npy", axes="readout,phase")
    assert scan.shape == (1, 1, 18, 20)
    np.testing.assert_array_equal(whole(scan)[0, 0], kspace)


def test_volumes_and_averages(tmp_path):
    """fastMRI prostate has averages first: complementary ones join, repeated samples are averaged."""
    kspace = random((2, 3, 18, 20))
    stored = np.stack([kspace, kspace, 3 * kspace])
    stored[0, ..., ::2] = 0
    stored[1:, ..., 1::2] = 0
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"] = stored
    with pytest.raises(ValueError, match=r"5 axes .* --axes average,slice,coil,readout,phase"):
        read_scan(tmp_path / "k.h5")
    averaged = read_scan(tmp_path / "k.h5", axes="average,slice,coil,readout,phase")
    expected = kspace * np.where(np.arange(20) % 2, 1, 2)
    np.testing.assert_allclose(whole(averaged), expected, rtol=1e-6)
    repeated = read_scan(tmp_path / "k.h5", axes="volume,slice,coil,readout,phase")
    assert repeated.volumes == 3 and repeated.volume_names[2] == "volume 2"
    np.testing.assert_array_equal(whole(repeated, 2), stored[2])


def test_masks_that_belong_to_the_array_move_with_it(tmp_path):
    kspace = random((2, 3, 18, 20))
    mask = np.zeros(20, bool)
    mask[[2, 9, 10, 11]] = True
    acquired = np.arange(20) < 15
    move = lambda x: np.fft.ifftshift(x, axes=-1)  # noqa: E731
    np.savez(tmp_path / "k.npz", kspace=move(kspace), mask=move(mask), acquired=move(acquired))
    scan = read_scan(tmp_path / "k.npz", kspace_centre="middle,corner")
    assert torch.equal(scan.mask(0), torch.from_numpy(mask).expand(18, 20))
    assert torch.equal(scan.acquired, torch.from_numpy(acquired).expand(18, 20))
    np.testing.assert_array_equal(whole(scan), kspace * mask)


def test_calibration_and_reference_of_our_own_files(tmp_path, make_scan):
    """A calibration scan lies on the grid of k-space: it moves too."""
    scan, _ = make_scan(
        (2, 3, 18, 20), calibration=lambda volume, index: torch.ones(3, 18, 20) + 0j
    )
    write_scan(scan, tmp_path / "k.h5")
    moved = read_scan(tmp_path / "k.h5", image_centre="corner,middle")
    signs = (-1.0) ** (torch.arange(18) - 9)
    torch.testing.assert_close(moved.calibration(0, 0).real, signs[:, None].expand(3, 18, 20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "readout,coil"}, "readout and phase .* must be among them"),
        ({"axes": "readout,phase,coils"}, "'readout,phase,coils': give each stored axis one"),
        ({"axes": "readout,phase,x"}, "give each stored axis one"),
        ({"kspace_centre": "center"}, "kspace_centre is 'center': give middle, corner"),
        ({"image_centre": "corner,corner,middle"}, "image_centre is"),
        ({"kspace_centre": "corner", "axes": "coil,x,phase"}, "readout is an axis of an image"),
    ],
)
def test_what_no_array_can_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Layout(**options)


def test_another_number_of_axes_and_formats_that_order_themselves(tmp_path, make_scan):
    np.save(tmp_path / "k.npy", random((3, 18, 20)))
    with pytest.raises(ValueError, match=r"3 axes \(3 x 18 x 20\), --axes names 2: readout,phase"):
        read_scan(tmp_path / "k.npy", axes="readout,phase")
    with pytest.raises(ValueError, match="leave out --variable k"):
        read_scan(tmp_path / "k.npy", variable="k")
    scan, _ = make_scan()
    write_scan(scan, tmp_path / "k.mrd")
    with pytest.raises(ValueError, match="is MRD, which orders its data itself: leave out --axes"):
        read_scan(tmp_path / "k.mrd", axes="readout,phase")


def test_an_array_of_another_name(tmp_path):
    kspace = random((2, 3, 18, 20))
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["rawdata"], file["info"] = kspace, 1
    with pytest.raises(ValueError, match=r"it has info, rawdata; name another array .* --variable"):
        read_scan(tmp_path / "k.h5")
    scan = read_scan(tmp_path / "k.h5", variable="rawdata")
    np.testing.assert_array_equal(whole(scan), kspace)
    np.savez(tmp_path / "k.npz", a=kspace, b=np.ones(2))
    with pytest.raises(ValueError, match="it has a, b, name it with --variable"):
        read_scan(tmp_path / "k.npz")
    np.testing.assert_array_equal(whole(read_scan(tmp_path / "k.npz", variable="a")), kspace)


def test_nested_arrays_of_hdf5_are_named_and_reached(tmp_path):
    kspace, path = random((2, 3, 18, 20)), tmp_path / "nested.h5"
    with h5py.File(path, "w") as file:
        file["data/kdata"], file["data/inner/more"], file["top"] = kspace, kspace[0], 1
        file["data/inner/again"] = file["data"]  # a hard link upwards: no end
        file["data/gone"] = h5py.SoftLink("/nowhere")
    np.testing.assert_array_equal(whole(read_scan(path, variable="data/kdata")), kspace)
    np.testing.assert_array_equal(whole(read_scan(path, variable="/data/kdata")), kspace)
    listed = "data/inner/more, data/kdata"
    for variable, words in (
        (None, f"neither 'kspace' .* nor 'dataset' .*: it has {listed}, top; name another"),
        ("data", f"nested.h5: 'data' is a group, no array: .* --variable, it holds {listed}$"),
        ("data/no", f"nested.h5 has no array 'data/no': it has {listed}, top$"),
        ("top/no", f"nested.h5 has no array 'top/no': it has {listed}, top$"),
    ):
        with pytest.raises(ValueError, match=words):
            read_scan(path, variable=variable)


def test_of_many_arrays_the_first_are_listed(tmp_path):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for number in range(30):
            file[f"a/{number:02}"] = 1
    with pytest.raises(ValueError, match=r"it has a/00, .*, a/19, \.\.\.; name another"):
        read_scan(tmp_path / "many.h5")


def test_formats_of_one_array_have_no_variables(tmp_path):
    np.save(tmp_path / "k.npy", random((3, 18, 20)))
    words = "is npy, which holds one array without a name: leave out --variable k"
    with pytest.raises(ValueError, match=words):
        read_scan(tmp_path / "k.npy", variable="k")


def test_averages_are_said(tmp_path):
    kspace = random((2, 3, 18, 20))
    np.save(tmp_path / "k.npy", kspace)
    scan = read_scan(tmp_path / "k.npy", axes="average,coil,readout,phase")
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace.mean(axis=0), rtol=1e-4)
    assert sum("the 2 averages of the array are averaged" in note for note in scan.notes) == 1
    assert not any("averaged" in note for note in read_scan(tmp_path / "k.npy").notes)
