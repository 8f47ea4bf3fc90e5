"""Files of the structure that the challenge's own code reads; that code's reconstruction is the truth."""

import convert_calgary_campinas as script
import h5py
import numpy as np
import pytest

from mrirecon.tensors import ifft2c

SHAPE = (6, 22, 20)  # x, ky, kz


def coil_images(coils, shape=SHAPE, seed=0):
    """Smooth complex images (x, y, z, coil) of an ellipse in the middle."""
    random = np.random.default_rng(seed)
    y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    head = ((y / 0.8) ** 2 + (z / 0.7) ** 2 < 1) * (1 + 0.3 * np.cos(7 * y))
    images = np.empty((*shape, coils), complex)
    for x in range(shape[0]):
        for coil in range(coils):
            a, b, c = random.uniform(-1, 1, 3)
            images[x, ..., coil] = head * np.exp(1j * (a * y + b * z + c)) * (1 + 0.4 * a * z)
    return images


def raw(images, origin):
    """Stored numbers, and the k-space itself: a plain FFT with its zero frequency in the middle or at index 0."""
    if origin == "corner":
        kspace = np.fft.fft2(images, axes=(1, 2))
    else:  # the image comes out of a plain inverse FFT in place, with alternating signs
        signs = np.where(np.indices(images.shape[1:3]).sum(axis=0) % 2, -1, 1)
        kspace = np.fft.fft2(images * signs[..., None], axes=(1, 2))
    stored = np.empty((*kspace.shape[:3], 2 * kspace.shape[3]), np.float32)
    stored[..., ::2], stored[..., 1::2] = kspace.real, kspace.imag
    return stored


def challenge_reconstruction(stored):
    """What `zero_filled_rec.py` of rmsouza01/MC-MRI-Rec computes, with the orthonormal factor."""
    kspace = stored[..., ::2] + 1j * stored[..., 1::2]
    image = np.fft.ifft2(kspace, axes=(1, 2), norm="ortho")
    return np.sqrt((np.abs(image) ** 2).sum(axis=-1))


def save(path, stored):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, stored)
    else:
        with h5py.File(path, "w") as file:
            file["kspace"] = stored
    return path


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
@pytest.mark.parametrize("kz", [20, 18])
@pytest.mark.parametrize("origin", ["middle", "corner"])
def test_target_is_the_challenges_reconstruction(tmp_path, call, origin, kz, suffix):
    images = coil_images(4, (6, 22, kz))
    stored = raw(images, origin)
    save(tmp_path / "in" / f"e14079s3_P09216.7{suffix}", stored)
    arguments = (tmp_path / "in", "--output", tmp_path / "set", "--acquired", "1")
    assert call(script, *arguments)[0] == 0
    (path,) = (tmp_path / "set" / "multicoil_train").iterdir()
    with h5py.File(path) as file:
        expected = challenge_reconstruction(stored)
        assert file["reconstruction_rss"][()] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert file.attrs["patient_id"] == "e14079"
        kspace = file["kspace"][()]
    # Our transform gives the images themselves: the phase is smooth, without alternating signs.
    shifted = np.fft.ifftshift(kspace, axes=(-2, -1))
    found = np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(-2, -1))
    scale = np.sqrt(22 * kz)
    assert found == pytest.approx(images.transpose(0, 3, 1, 2) * scale, rel=1e-3, abs=1e-3 * scale)


def test_what_was_not_acquired_is_zero_and_marked(tmp_path, call):
    from fastmri.data import SliceDataset

    stored = raw(coil_images(4), "middle")
    save(tmp_path / "e1.h5", stored)
    call(script, tmp_path / "e1.h5", "--output", tmp_path / "set", "--skip_ends", "1")
    part = tmp_path / "set" / "multicoil_train"
    data = SliceDataset(part, "multicoil", transform=None)
    assert len(data) == 4
    kspace, _, target, attributes, *_ = data[0]
    assert kspace.shape == (4, 22, 20)
    assert not kspace[..., 17:].any()  # 0.85 * 20
    assert (attributes["padding_left"], attributes["padding_right"]) == (0, 17)
    cut = stored[1:2].copy()
    cut[:, :, 17:] = 0
    assert target == pytest.approx(challenge_reconstruction(cut)[0], rel=1e-4, abs=1e-4)


def test_one_coil_is_fully_acquired(tmp_path, call):
    images = coil_images(1)
    save(tmp_path / "e2.npy", raw(images, "corner"))
    assert call(script, tmp_path / "e2.npy", "--output", tmp_path / "set")[0] == 0
    with h5py.File(tmp_path / "set" / "singlecoil_train" / "e2.h5") as file:
        expected = np.abs(images[..., 0]) * np.sqrt(22 * 20)
        assert file["reconstruction_esc"][()] == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_odd_sizes_keep_the_image_in_place():
    """A plain inverse FFT puts the head in the middle; so does ours, for any size."""
    from torch import from_numpy, outer

    image = coil_images(1, (1, 21, 19))[0, ..., 0]
    kspace = np.fft.fftshift(np.fft.fft2(image, norm="ortho"))
    turn = outer(*(script._shift_phase(n) for n in image.shape))
    assert ifft2c(from_numpy(kspace) * turn).numpy() == pytest.approx(image, abs=1e-9)


def test_split_is_by_exam(tmp_path, refused):
    for name in ("e5s1_P1.7", "e5s2_P2.7"):
        save(tmp_path / "in" / f"{name}.h5", raw(coil_images(2), "middle"))
    (tmp_path / "s.csv").write_text("file,part\ne5s1_P1.7,train\ne5s2_P2.7,val\n")
    error = refused(
        script, tmp_path / "in", "--output", tmp_path / "o", "--split", tmp_path / "s.csv"
    )
    assert "e5 is in train" in error


def broken(kind, path):
    random = np.random.default_rng(0)
    stored = raw(coil_images(2), "middle")
    if kind == "noise":
        return save(path, random.normal(size=stored.shape).astype(np.float32))
    if kind == "complex":
        return save(path, stored.astype(np.complex64))
    if kind == "three axes":
        return save(path, stored[0])
    if kind == "odd channels":
        return save(path, stored[..., :3])
    if kind == "other key":
        with h5py.File(path, "w") as file:
            file["data"] = stored
        return path
    save(path, stored)
    path.write_bytes(path.read_bytes()[:2000])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("noise", "give --origin"),
        ("complex", "are real (x, ky, kz, 2 x coils)"),
        ("three axes", "are real (x, ky, kz, 2 x coils)"),
        ("odd channels", "are real (x, ky, kz, 2 x coils)"),
        ("other key", "no 'kspace': it has data"),
        ("truncated", "truncated"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, call, kind, message):
    path = broken(kind, tmp_path / "e3.h5")
    status, _, errors = call(script, path, "--output", tmp_path / "set")
    assert status == 1
    assert message in errors
    assert errors.count("\n") == 1


def test_an_array_that_is_none(tmp_path, call):
    np.save(tmp_path / "e4.npy", np.array([{"a": 1}]), allow_pickle=True)
    status, _, errors = call(script, tmp_path / "e4.npy", "--output", tmp_path / "set")
    assert status == 1
    assert "no npy array" in errors
