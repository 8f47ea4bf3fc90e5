"""Samples of the data module against the fastMRI package, on the same files."""

import math

import numpy as np
import pytest
import torch
from fastmri_layout import official, official_varnet, write

from mrirecon.masks import MaskSpec
from mrirecon.training.core.batches import SliceRequest
from mrirecon.training.end_to_end.data import FastMRIDataModule
from mrirecon.training.end_to_end.dataset import SliceDataset
from mrirecon.training.end_to_end.index import describe, index_folder
from mrirecon.training.end_to_end.undersampling import draw

R4, R8 = MaskSpec("fastmri_equispaced_fraction", 4, 0.08), MaskSpec("fastmri_random", 8, 0.04)


def validation(root, masks, **options):
    """The validation samples of a folder, one by one."""
    module = FastMRIDataModule(root, masks, workers=0, **options)
    return [one for one in module.val_dataloader()]


@pytest.mark.parametrize(
    "kind", ["random", "equispaced", "equispaced_fraction", "magic", "magic_fraction"]
)
@pytest.mark.parametrize("pairs", [[(4, 0.08)], [(4, 0.08), (8, 0.04)], [(8, 0.04), (4, 0.08)]])
def test_validation_is_that_of_fastmri(tmp_path, kind, pairs):
    from fastmri.data.subsample import create_mask_for_mask_type

    folder = tmp_path / "multicoil_val"
    write(folder / "file1000001.h5", (2, 3, 48, 96), (40, 48), padding=(7, 9))
    write(folder / "file1000002.h5", (3, 2, 41, 75), (32, 33), padding=(0, 5))
    write(folder / "file_brain_AXT2_200.h5", (2, 4, 64, 80), (48, 48))
    write(folder / "flair_203.h5", (2, 2, 64, 60), (60, 60), seed=1)
    accelerations, fractions = zip(*pairs, strict=True)
    mask_function = create_mask_for_mask_type(f"{kind}", list(fractions), list(accelerations))
    theirs = list(official_varnet(folder, mask_function))
    ours = validation(tmp_path, [MaskSpec(f"fastmri_{kind}", *pair) for pair in pairs])
    assert len(ours) == len(theirs) == 9
    for own, peer in zip(ours, theirs, strict=True):
        assert own.volume == (peer.fname,)
        assert own.index.tolist() == [peer.slice_num]
        assert torch.equal(own.kspace[0, 0], torch.view_as_complex(peer.masked_kspace))
        assert torch.equal(own.mask[0], peer.mask[0, :, :, 0].expand_as(own.mask[0]))
        assert torch.equal(own.target[0], peer.target)
        assert own.maximum.tolist() == [pytest.approx(peer.max_value)]
        rows, columns = own.crop
        assert (rows.stop - rows.start, columns.stop - columns.start) == peer.crop_size
        width, low = own.mask.shape[-1], peer.num_low_frequencies
        expected = torch.zeros(width, dtype=torch.bool)
        expected[(width - low + 1) // 2 :][:low] = True
        assert torch.equal(own.calibration[0], expected.expand_as(own.mask[0]))


def test_the_window_is_where_fastmri_crops(tmp_path):
    from fastmri.data.transforms import center_crop

    write(tmp_path / "multicoil_val" / "a.h5", (1, 1, 41, 36), (30, 31))
    (one,) = validation(tmp_path, [R4])
    image = torch.randn(41, 36)
    assert torch.equal(image[one.crop], center_crop(image, (30, 31)))


def test_a_file_with_its_own_mask_keeps_it(tmp_path):
    """The public test sets: undersampled, without target; the padded columns are not sampled."""
    folder = tmp_path / "multicoil_val"
    columns = np.zeros(60, np.float32)
    columns[::4] = columns[27:33] = 1
    write(folder / "file7.h5", (2, 3, 48, 60), (40, 40), padding=(5, 7), target=False, mask=columns)
    for own, peer in zip(validation(tmp_path, [R8]), official_varnet(folder), strict=True):
        assert torch.equal(own.kspace[0, 0], torch.view_as_complex(peer.masked_kspace))
        assert torch.equal(own.mask[0], peer.mask[0, :, :, 0].expand_as(own.mask[0]))
        assert own.target is None
        assert math.isnan(own.maximum)
        assert own.calibration[0, 0].nonzero()[:, 0].tolist() == [27, 28, 29, 30, 31, 32]


def test_zeros_without_a_mask_are_a_mask_of_the_file(tmp_path):
    """A test file without the dataset `mask`: what is exactly zero was not sampled."""
    columns = np.zeros(60, np.float32)
    columns[::3] = columns[26:34] = 1
    kspace = write(tmp_path / "multicoil_val" / "a.h5", (2, 3, 48, 60), (40, 40), target=False)
    import h5py

    with h5py.File(tmp_path / "multicoil_val" / "a.h5", "r+") as file:
        file["kspace"][...] = kspace * columns
    batch = validation(tmp_path, [R8])[0]
    assert torch.equal(batch.mask[0, 0], torch.from_numpy(columns > 0))


def test_without_a_header_the_zero_columns_at_the_sides_are_padding(tmp_path):
    path = tmp_path / "a.h5"
    write(path, (2, 3, 48, 60), (40, 40), padding=(8, 4), header=False)
    entry = describe(path)
    assert entry.acquired == (0, 48, 8, 56)
    assert not entry.sampled


def test_single_coil_like_fastmri(tmp_path):
    folder = tmp_path / "singlecoil_val"
    write(folder / "a.h5", (2, 48, 60), (40, 40))
    module = FastMRIDataModule(tmp_path, [R4], "singlecoil", workers=0)
    for own, (kspace, _, target, attributes, name, index) in zip(
        module.val_dataloader(), official(folder, "singlecoil"), strict=True
    ):
        assert own.kspace.shape == (1, 1, 1, 48, 60)
        assert torch.equal(own.kspace[0, 0, 0], torch.from_numpy(kspace) * own.mask[0])
        assert torch.equal(own.target[0], torch.from_numpy(target))
        assert (own.volume, own.index.item()) == ((name,), index)
        assert own.maximum.item() == pytest.approx(attributes["max"])


def test_neighbours_beyond_the_ends_repeat_the_end_slices(tmp_path):
    folder = tmp_path / "multicoil_val"
    stored = torch.from_numpy(write(folder / "a.h5", (4, 2, 24, 20), (20, 20)))
    short = torch.from_numpy(write(folder / "b.h5", (1, 2, 24, 20), (20, 20)))
    five = validation(tmp_path, [R4], adjacent_slices=5)
    neighbours = [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]
    for batch, expected in zip(five[:4], neighbours, strict=True):
        assert torch.equal(batch.kspace[0], stored[expected] * batch.mask[0])
    assert torch.equal(five[4].kspace[0], short[[0] * 5] * five[4].mask[0])
    three = validation(tmp_path, [R4], adjacent_slices=3)
    assert torch.equal(three[3].kspace[0], stored[[2, 3, 3]] * three[3].mask[0])


def test_without_a_target_it_is_the_rss_of_the_full_data(tmp_path):
    import fastmri
    from fastmri.data.transforms import center_crop

    kspace = write(tmp_path / "multicoil_val" / "a.h5", (3, 4, 48, 40), (30, 32), target=False)
    parts = torch.view_as_real(torch.from_numpy(kspace))
    expected = center_crop(fastmri.rss_complex(fastmri.ifft2c(parts), dim=1), (30, 32))
    for batch in validation(tmp_path, [R4], adjacent_slices=3):
        torch.testing.assert_close(batch.target[0], expected[batch.index.item()])
        assert batch.maximum.item() == pytest.approx(expected.max().item(), rel=1e-6)


@pytest.mark.parametrize("kind", ["uniform1d", "equispaced", "gaussian2d", "poisson"])
@pytest.mark.parametrize("size", [(40, 36), (41, 37), (37, 41)])
def test_the_calibration_region_is_sampled_and_of_the_asked_size(kind, size):
    share = 0.2 if kind == "poisson" else 0.16
    everywhere = torch.ones(size, dtype=torch.bool)
    mask, calibration = draw(MaskSpec(kind, 4, share), everywhere, (1,))
    assert bool(mask[calibration].all())
    rows, columns = (int(calibration.any(dim=dim).sum()) for dim in (1, 0))
    if kind in ("gaussian2d", "poisson"):
        assert rows == columns == round(share * min(size))
    else:
        assert (rows, columns) == (size[0], round(share * size[1]))
    assert int(calibration.sum()) == rows * columns


def ellipse(shape):
    y, x = (2 * np.arange(n) - n for n in shape)
    return torch.from_numpy((y[:, None] / shape[0]) ** 2 + (x / shape[1]) ** 2 <= 1)


@pytest.mark.parametrize("kind", ["uniform1d", "gaussian1d", "gaussian2d", "poisson"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("coverage", ["columns", "ellipse", "one-sided"])
def test_masks_are_drawn_over_what_a_file_covers(tmp_path, kind, header, coverage):
    """In training and in validation, whether a header says so or the zeros alone; the calibration is sampled."""
    import h5py

    shape = (48, 60)
    covered = torch.ones(shape, dtype=torch.bool)
    if coverage == "columns":
        covered[:, :8] = covered[:, 52:] = False
    elif coverage == "ellipse":
        covered = ellipse(shape)
    else:
        covered[:, :14] = False
    for folder in ("multicoil_train", "multicoil_val"):
        path = tmp_path / folder / "a.h5"
        padding = (8, 8) if coverage == "columns" else (0, 0)
        kspace = write(path, (3, 2, *shape), (40, 40), padding=padding, header=header)
        with h5py.File(path, "r+") as file:
            file["kspace"][...] = kspace * covered.numpy()
    module = FastMRIDataModule(tmp_path, [MaskSpec(kind, 4, 0.16)], workers=0)
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for batch in loader:
            for mask, calibration in zip(batch.mask, batch.calibration, strict=True):
                assert not bool((mask & ~covered).any())
                assert int(covered.sum()) / int(mask.sum()) == pytest.approx(4, rel=0.06)
                assert bool(mask[calibration].all()) and bool(calibration[24, 30])
                assert int(calibration.sum()) > 20
            assert torch.equal(batch.kspace[:, 0] != 0, batch.mask[:, None].expand(-1, 2, -1, -1))


def test_training_masks_follow_seed_epoch_slice_and_volume(tmp_path):
    folder = tmp_path / "multicoil_train"
    for name in "abc":
        write(folder / f"{name}.h5", (4, 2, 24, 80), (20, 20))
    entries = index_folder(folder)
    specs = [MaskSpec("uniform1d", 4), R8, MaskSpec("gaussian2d", 6)]

    def masks(seed):
        data = SliceDataset(entries, specs, seed=seed)
        return {
            (epoch, entry, index): data.__getitems__([SliceRequest(epoch, entry, index)]).mask[0]
            for epoch in range(3)
            for entry in range(3)
            for index in range(4)
        }

    first, again, other = masks(1), masks(1), masks(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)
    assert len({mask.numpy().tobytes() for mask in first.values()}) == 36
    kinds = {bool((mask == mask[:1]).all()) for mask in first.values()}
    assert kinds == {True, False}


def test_a_fully_sampled_file_needs_a_mask(tmp_path):
    write(tmp_path / "multicoil_train" / "a.h5", (1, 2, 24, 20), (20, 20))
    with pytest.raises(ValueError, match=r"a\.h5 is fully sampled: say with `masks`"):
        next(iter(FastMRIDataModule(tmp_path, [], workers=0).train_dataloader()))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_target_that_is_no_number_names_its_file_and_slice(tmp_path, value, workers):
    """At once: before a step of training, and where the index needs the maximum, before the first."""
    import h5py

    def damaged(name):
        path = tmp_path / name / "a.h5"
        write(path, (3, 2, 24, 20), (20, 20))
        with h5py.File(path, "r+") as file:
            file["reconstruction_rss"][1, 3, 4] = value
            if name != "with_maximum":
                del file.attrs["max"]
            if name == "without_target":
                del file["reconstruction_rss"]
                file["kspace"][2, 0, 1, 1] = value
        module = FastMRIDataModule(tmp_path, [R4], workers=workers, train_folder=name)
        return module.train_dataloader()

    loader = damaged("with_maximum")
    with pytest.raises(ValueError, match=r"a\.h5: the target of slice 1 holds NaN or infinite"):
        list(loader)
    with pytest.raises(ValueError, match=r"a\.h5: the target of slice 1 holds NaN or infinite"):
        damaged("without_maximum")
    with pytest.raises(ValueError, match=r"a\.h5: k-space of slice 2 holds NaN or infinite"):
        damaged("without_target")


def test_damage_is_one_sentence_also_from_the_threads(tmp_path):
    path = tmp_path / "multicoil_train" / "a.h5"
    write(path, (3, 2, 24, 20), (20, 20))
    import h5py

    module = FastMRIDataModule(tmp_path, [R4], workers=2)
    loader = module.train_dataloader()
    with h5py.File(path, "r+") as file:
        file["kspace"][1, 0, 12, 10] = np.nan
    with pytest.raises(ValueError, match=r"a\.h5: k-space at slice 1 holds NaN"):
        list(loader)
    write(path, (3, 2, 22, 20), (20, 20))
    with pytest.raises(ValueError, match=r"slice of kspace is 2 x 22 x 20, expected 2 x 24 x 20"):
        list(loader)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.h5: no such file"):
        list(loader)
