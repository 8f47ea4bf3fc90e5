"""Patches for priors: where they come from, what is done to them, and that they are the same in every run."""

import math

import nibabel
import numpy as np
import prior_runs
import pytest
import torch
from pytorch_lightning import Trainer

from mrirecon.io import write_scan
from mrirecon.phantom import shepp_logan
from mrirecon.scale import volume_scale
from mrirecon.simulate import simulate_scan
from mrirecon.training.prior.data import PriorDataModule
from mrirecon.training.prior.echoes import with_echoes
from mrirecon.training.prior.images import find_sources, prepare, stacks
from mrirecon.training.prior.patches import Augmentation, PatchDataset, PatchRequest

PLAIN = {"resampled": 0.0, "gain": (1.0, 1.0), "shading": 0.0, "phase_rad": (0.0, 0.0)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return prior_runs.make_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def module(root, cache, **changed):
    return PriorDataModule(**prior_runs.data_options(root, cache, **changed))


def epoch(loader, number=0):
    loader.batch_sampler.set_epoch(number)
    return list(loader)


def test_batches(root, cache):
    batches = epoch(module(root, cache).train_dataloader())
    assert len(batches) == 5  # four patients of five slices
    for batch in batches:
        assert batch.image.shape == (4, 24, 24) and batch.image.dtype == torch.complex64
        assert batch.noise.shape == batch.image.shape
        assert bool(batch.image.isfinite().all())
        assert bool((batch.level >= 0).all() and (batch.level < 1).all())
        assert all("t1.nii.gz:stored" in name for name in batch.volume)
    seen = {(v, int(i)) for b in batches for v, i in zip(b.volume, b.index, strict=True)}
    assert len(seen) == 20
    noise = torch.cat([b.noise for b in batches])
    assert noise.real.std() == pytest.approx(1, abs=0.03)
    assert noise.imag.std() == pytest.approx(1, abs=0.03)


def test_a_patch_is_a_function_of_seed_epoch_and_slice(root, cache):
    """Whatever the batch it is in, the process, and what was drawn before."""

    def patches(loader, number):
        found = {}
        for batch in epoch(loader, number):
            for n, key in enumerate(zip(batch.volume, batch.index.tolist(), strict=True)):
                found[key] = (batch.image[n], batch.noise[n], batch.level[n])
        return found

    one = patches(module(root, cache).train_dataloader(), 3)
    for other in (
        module(root, cache, batch_size=3),
        module(root, cache, workers=2),
    ):
        again = patches(other.train_dataloader(), 3)
        assert again.keys() == one.keys()
        for key, values in one.items():
            assert all(torch.equal(a, b) for a, b in zip(values, again[key], strict=True))
    for other, number in ((module(root, cache), 4), (module(root, cache, seed=1), 3)):
        changed = patches(other.train_dataloader(), number)
        assert not any(torch.equal(one[key][0], changed[key][0]) for key in one)


def test_held_out_patients_are_never_trained_on(root, cache):
    data = module(root, cache, validation=["patient04", "patient0[01]"])
    trained = {v.partition("/")[0] for b in epoch(data.train_dataloader()) for v in b.volume}
    assert trained == {"patient02", "patient03"}
    judged = {v.partition("/")[0] for b in data.val_dataloader() for v in b.volume}
    assert judged == {"patient00", "patient01", "patient04"}


def test_further_images_for_validation_hold_out_their_patients(root, cache):
    data = module(root, cache, validation=[], val_sources=[str(root / "patient03")])
    trained = {v.partition("/")[0] for b in epoch(data.train_dataloader()) for v in b.volume}
    assert trained == {"patient00", "patient01", "patient02", "patient04"}
    with pytest.raises(ValueError, match=r"data\.val_sources holds every patient"):
        module(root, cache, val_sources=[str(root)]).train_dataloader()


def test_nobody_is_held_out_by_a_typing_error(root, cache):
    with pytest.raises(ValueError, match=r"data\.validation patient9 matches no patient"):
        module(root, cache, validation=["patient9"]).train_dataloader()


def test_patterns_may_be_ranges(root, cache):
    """The hyphen of [2-4] is not one of those that names are compared without."""
    data = module(root, cache, validation=["Patient_0[2-4]"])
    judged = {v.partition("/")[0] for b in data.val_dataloader() for v in b.volume}
    assert judged == {"patient02", "patient03", "patient04"}


def test_one_image_of_two_patients_is_refused(root, tmp_path):
    for patient in ("patient00", "patient07"):
        prior_runs.write_nifti(tmp_path / "images" / patient / "t1.nii.gz", 0)
    data = module(tmp_path / "images", tmp_path / "cache", validation=["patient07"])
    with pytest.raises(ValueError, match="of patient00 is the same image as"):
        data.prepare_data()


def test_images_of_one_name_are_told_apart(root, cache):
    """With a source for each patient all files are called t1.nii.gz: noise, level and place still differ."""
    sources = [str(root / f"patient0{patient}") for patient in range(5)]
    apart = module(root, cache, sources=sources, batch_size=20)
    (batch,) = epoch(apart.train_dataloader())
    assert len(set(zip(batch.volume, batch.index.tolist(), strict=True))) == 20
    assert len(set(batch.level.tolist())) == 20
    assert len(torch.unique(batch.noise.real[:, 0, 0])) == 20
    judged = module(root, cache, sources=sources, validation=["patient0[34]"]).val_dataloader()
    seen = [pair for b in judged for pair in zip(b.volume, b.index.tolist(), strict=True)]
    assert len(seen) == len(set(seen)) == 8


def test_a_patch_follows_what_is_seen_and_not_what_it_is_called(root, tmp_path):
    """The same images in other folders and under other names, in another order of sources, give the same patches."""
    moved = tmp_path / "moved"
    for patient, other in ((0, "z"), (1, "b"), (2, "a")):
        folder = moved / f"patient{patient:02d}"
        folder.mkdir(parents=True)
        content = (root / f"patient{patient:02d}" / "t1.nii.gz").read_bytes()
        (folder / f"{other}.nii.gz").write_bytes(content)

    def patches(source, *excluded):
        data = module(source, tmp_path / "cache", validation=[], exclude=["mask", *excluded])
        found = {}
        for batch in epoch(data.train_dataloader(), 2):
            for n, level in enumerate(batch.level.tolist()):
                found[level] = (batch.image[n], batch.noise[n])
        return found

    one, other = patches(root, "patient03", "patient04"), patches(moved)
    assert one.keys() == other.keys() and len(one) == 15
    for level, pair in one.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, other[level], strict=True))


def test_planes_of_one_image_have_streams_of_their_own(root, cache):
    stacked = one_stack(root, cache, ("axial", "coronal", "sagittal"), coarsest=5.0)
    first = [stack for stack in stacked if stack.volume is stacked[0].volume]
    how = Augmentation(pixel_mm=(0.5, 5.0), **PLAIN)
    batch = PatchDataset(first, how, seed=0).__getitems__(
        [PatchRequest(0, n, 2, 16) for n in range(3)]
    )
    assert len(set(batch.level.tolist())) == 3 and len(set(batch.volume)) == 3


def test_copies_of_an_image_are_used_once_and_noted(root, tmp_path):
    data = module(
        root, tmp_path / "cache", sources=[str(root), str(root / "patient02")], batch_size=5
    )
    data.prepare_data()
    path = root / "patient02" / "t1.nii.gz"
    assert data.notes == [f"{path} is the same image as {path}: it is used once"]
    seen = {
        pair
        for b in epoch(data.train_dataloader())
        for pair in zip(b.volume, b.index.tolist(), strict=True)
    }
    assert len(seen) == 20 and len(epoch(data.train_dataloader())) == 4
    for patient in ("patient00", "patient07", "patient08"):
        prior_runs.write_nifti(tmp_path / "images" / patient / "t1.nii.gz", 0)
    prior_runs.write_nifti(tmp_path / "images" / "patient04" / "t1.nii.gz", 4)
    data = module(tmp_path / "images", tmp_path / "cache")
    data.prepare_data()
    for note, patient in zip(data.notes, ("patient07", "patient08"), strict=True):
        copy, _, other = note.partition(" is the same image as ")
        assert patient in copy and "patient00" in other
    assert len(epoch(data.train_dataloader())) == 2
    data = module(tmp_path / "images", tmp_path / "cache", validation=["patient0[078]"])
    data.prepare_data()
    assert len(data.notes) == 2
    assert sum(len(b.volume) for b in data.val_dataloader()) == 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_no_number_somewhere_is_named(root, tmp_path, value):
    path = tmp_path / "patient09" / "t1.nii.gz"
    prior_runs.write_nifti(path, 0)
    image = nibabel.load(path)
    voxels = image.get_fdata(dtype=np.float32)
    voxels[3, 4, 2] = value
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)
    data = module(tmp_path, tmp_path / "cache", validation=[])
    with pytest.raises(ValueError, match=r"patient09/t1\.nii\.gz holds NaN or infinite values"):
        data.prepare_data()
    assert not list((tmp_path / "cache").iterdir())


def test_validation_is_always_the_same(root, cache):
    first, second = (list(module(root, cache, seed=seed).val_dataloader()) for seed in (0, 1))
    assert len(first) == 1 and first[0].image.shape == (4, 24, 24)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.noise, b.noise)
    assert module(root, cache, validation=[]).val_dataloader() == []


def test_validation_sees_slices_from_the_inside(root, cache):
    """Evenly spread, without the first and the last: two of five are the second and the fourth."""
    loader = module(root, cache, val_slices=2).val_dataloader()
    assert [stack.numbers for stack in loader.dataset.stacks] == [(1, 3)]


def test_growing_patches(root, cache, monkeypatch):
    """Half of the 10 steps at 16 pixels, half at 24; the place of a batch decides, not the order of reading."""
    data = module(root, cache)

    limits = {"steps": 10.0}
    monkeypatch.setattr("mrirecon.training.prior.data.total_steps", lambda trainer: limits["steps"])
    monkeypatch.setattr("mrirecon.training.prior.data.steps_per_epoch", lambda trainer: 5.0)
    data.trainer = Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    loader = data.train_dataloader()
    sizes = [b.image.shape[-1] for number in (0, 1, 2) for b in epoch(loader, number)]
    assert sizes == [16] * 5 + [24] * 10
    limits["steps"] = 4.0
    assert [b.image.shape[-1] for b in epoch(loader, 0)] == [16, 16, 24, 24, 24]
    limits["steps"] = math.inf
    with pytest.raises(ValueError, match=r"data\.patches of several sizes"):
        epoch(loader)


# --- what a patch is made of ---


def one_stack(root, cache, planes=("stored",), coarsest=1.5):
    images = [i for i in find_sources([str(root)], ["mask"], r"patient\d+")]
    return stacks(prepare(images, cache), planes, coarsest, 0.0)


def test_volumes_have_bright_level_one_and_lie_alike(root, cache):
    volume = one_stack(root, cache)[0].volume
    assert volume.array.dtype == np.float16 and volume.array.shape == (SLICES, *prior_runs.SHAPE)
    assert volume.voxel_mm == pytest.approx((4, 1, 1)) and volume.across == 0
    stored = nibabel.load(root / volume.name).get_fdata().transpose(2, 1, 0)[::-1]
    array = volume.array.astype(np.float64)
    level = float((stored * array).sum() / (array**2).sum())
    assert np.abs(array - stored / level).max() < 2e-3  # half precision
    # The same volume as k-space has the same bright level.
    magnitude = stored.transpose(1, 2, 0).astype(np.float32)
    scan = simulate_scan(magnitude, coils=1, phase_rad=0.0, oversample=1).scan
    assert level == pytest.approx(volume_scale(scan), rel=0.02)


SLICES = prior_runs.SLICES


def test_echoes_are_the_image_with_the_phase_of_air_and_fat(root, cache):
    """Of each image so many, each with a phase of its own, kept beside the image and found again."""
    volume = one_stack(root, cache)[0].volume
    several = with_echoes([volume], 2, (1.0, 8.0))
    assert several[0] is volume and len({one.sha256 for one in several}) == 3
    magnitude = volume.array[...].astype(np.float64)
    for echo in several[1:]:
        array = np.asarray(echo.array[...])
        assert array.dtype == np.complex64 and array.shape == magnitude.shape
        assert (np.abs(array) <= magnitude + 1e-6).all()
        inside = magnitude > 0.3
        assert np.angle(array)[inside].std() > 0.01
    first, second = (np.asarray(echo.array[...]) for echo in several[1:])
    assert np.linalg.norm(first - second) > 0.01 * np.linalg.norm(first)
    before = several[1].path.stat().st_mtime_ns
    again = with_echoes([volume], 2, (1.0, 8.0))
    assert again == several and again[1].path.stat().st_mtime_ns == before
    assert with_echoes([volume], 1, (2.0, 8.0))[1].path != several[1].path
    data = module(root, cache, echoes=2)
    assert len(epoch(data.train_dataloader())) == 15 and len(
        epoch(data.val_dataloader())
    ) == 3 * len(epoch(module(root, cache).val_dataloader()))


@pytest.mark.parametrize(
    "changed", [{"echoes": -1}, {"echo_ms": (5.0, 1.0)}, {"echo_ms": (-1.0, 1.0)}]
)
def test_echoes_that_make_no_sense_are_refused(root, cache, changed):
    with pytest.raises(ValueError, match=f"data.{next(iter(changed))} is"):
        module(root, cache, **changed)


def test_planes_whose_pixels_are_too_coarse_are_left_out(root, cache):
    planes = ("axial", "coronal", "sagittal")
    assert {s.plane for s in one_stack(root, cache, planes)} == {"axial"}
    every = one_stack(root, cache, planes, coarsest=5.0)
    assert {(s.plane, s.pixel_mm) for s in every} == {
        ("axial", (1.0, 1.0)),
        ("coronal", (4.0, 1.0)),
        ("sagittal", (4.0, 1.0)),
    }
    data = PriorDataModule(**prior_runs.data_options(root, cache, planes=["coronal"]))
    with pytest.raises(ValueError, match=r"no image has pixels up to 1\.5 mm"):
        data.train_dataloader()


def test_without_augmentation_a_patch_is_a_part_of_the_slice(root, cache):
    stack = one_stack(root, cache)[0]
    dataset = PatchDataset([stack], Augmentation(pixel_mm=(0.5, 1.5), **PLAIN), seed=0)
    batch = dataset.__getitems__([PatchRequest(e, 0, 2, 20) for e in range(8)])
    whole = torch.from_numpy(stack.image(2).astype(np.float32))
    places = whole.unfold(0, 20, 1).unfold(1, 20, 1).flatten(0, 1)
    for image, pixel in zip(batch.image.abs(), batch.pixel_mm, strict=True):
        turns = [torch.rot90(i, n) for i in (image, image.flip(0)) for n in range(4)]
        distance = min(float((places - turn).abs().amax(dim=(1, 2)).min()) for turn in turns)
        assert distance < 1e-5 and pixel == 1.0
    turn = batch.image.sgn()
    assert torch.allclose(turn, turn[:, 10:11, 10:11].expand_as(turn), atol=1e-4)


def test_resampled_patches_show_more_of_the_image_with_larger_pixels(root, cache):
    """The mean of a patch twice as coarse is that of the part it stands for; nothing gets finer than the image."""
    stack = one_stack(root, cache)[0]
    how = Augmentation(pixel_mm=(2.0, 2.0), **{**PLAIN, "resampled": 1.0})
    batch = PatchDataset([stack], how, seed=0).__getitems__([PatchRequest(0, 0, 0, 24)])
    assert batch.pixel_mm.tolist() == [2.0]
    whole = torch.from_numpy(stack.image(0).astype(np.float32))
    assert float(batch.image.abs().sum() * 4) == pytest.approx(float(whole.sum()), rel=0.05)
    fine = Augmentation(pixel_mm=(0.3, 1.5), **{**PLAIN, "resampled": 1.0})
    batch = PatchDataset([stack], fine, seed=0).__getitems__(
        [PatchRequest(e, 0, 0, 24) for e in range(20)]
    )
    assert bool((batch.pixel_mm >= 1.0).all() and (batch.pixel_mm <= 1.5).all())
    assert len(set(batch.pixel_mm.tolist())) == 20


def test_gain_shading_and_phase(root, cache):
    stack = one_stack(root, cache)[0]
    requests = [PatchRequest(e, 0, 0, 32) for e in range(30)]
    plain = Augmentation(**PLAIN)

    def changed(**options):
        how = Augmentation(**{**PLAIN, **options})
        return PatchDataset([stack], how, seed=0).__getitems__(requests).image

    image = PatchDataset([stack], plain, seed=0).__getitems__(requests).image
    seen = image.abs() > 0.2
    gains = changed(gain=(0.7, 1.4)).abs()[seen] / image.abs()[seen]
    assert 0.69 < float(gains.min()) < 0.75 and 1.3 < float(gains.max()) < 1.41
    shades = changed(shading=0.3).abs()[seen] / image.abs()[seen]
    assert math.exp(-0.35) < float(shades.min()) < 0.9 and 1.1 < float(shades.max()) < math.exp(
        0.35
    )
    phase = changed(phase_rad=(4.0, 4.0)).sgn()
    steps = (phase[..., 1:] * phase[..., :-1].conj()).angle()
    assert 0.02 < float(steps.abs().mean()) < 0.4


def test_the_phase_of_a_patch_is_its_share_of_that_of_the_image(root, cache):
    """Smooth over the whole image (48 rows): it varies as much from pixel to pixel in a small patch as in a large."""
    stack = one_stack(root, cache)[0]
    how = Augmentation(**{**PLAIN, "phase_rad": (4.0, 4.0)})

    def steps(size):
        requests = [PatchRequest(e, 0, 0, size) for e in range(60)]
        phase = PatchDataset([stack], how, seed=0).__getitems__(requests).image
        seen = (phase[..., 1:].abs() > 0.05) & (phase[..., :-1].abs() > 0.05)
        return float((phase[..., 1:] * phase[..., :-1].conj()).angle().abs()[seen].mean())

    whole = steps(48)
    for size in (16, 24):
        assert steps(size) == pytest.approx(whole, rel=0.25)


# --- scans ---


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp("scans")
    image = shepp_logan((40, 36)).numpy()[:, :, None].astype(np.float32) * np.array([1, 0.8]) * 1e-5
    made = simulate_scan(
        image.astype(np.float32), coils=4, snr=400.0, affine=np.diag([2.0, 2, 3, 1])
    )
    for name in ("file1.h5", "file2.h5"):
        write_scan(made.scan, root / name)
    return root, made


def test_scans_are_combined_by_their_maps(scans, tmp_path):
    root, made = scans
    images = find_sources([str(root)], [], r"patient\d+")
    assert [image.patient for image in images] == ["file1", "file2"]
    volume = prepare(images, tmp_path)[0]
    assert volume.array.dtype == np.complex64 and volume.array.shape == (2, 40, 36)
    assert volume.voxel_mm == pytest.approx((3, 2, 2)) and not volume.lies
    for index in range(2):
        truth, combined = made.truth(index), torch.from_numpy(np.asarray(volume.array[index]))
        inside = combined != 0
        assert float(inside.float().mean()) > 0.4
        ratio = truth.abs()[inside] / combined.abs()[inside].clamp_min(0.05)
        scale = float(ratio.median())
        assert scale == pytest.approx(volume_scale(made.scan), rel=0.15)
        error = (combined.abs() - truth.abs() / scale)[inside]
        assert float(error.square().mean().sqrt()) < 0.1
    stack = stacks([volume], ["axial"], 5.0, 0.3)
    assert [s.plane for s in stack] == ["stored"] and stack[0].pixel_mm == pytest.approx((2, 2))


def test_an_undersampled_scan_is_refused(scans, tmp_path):
    _, made = scans
    import h5py

    write_scan(made.scan, tmp_path / "file3.h5")
    with h5py.File(tmp_path / "file3.h5", "a") as file:
        mask = np.zeros(36, bool)
        mask[::2] = True
        file["kspace"][...] = file["kspace"][...] * mask
        file["mask"] = mask
    images = find_sources([str(tmp_path)], [], r"patient\d+")
    with pytest.raises(ValueError, match=r"file3\.h5 is undersampled"):
        prepare(images, tmp_path / "cache")


def test_images_are_prepared_once(scans, tmp_path, monkeypatch):
    root, _ = scans
    images = find_sources([str(root)], [], r"patient\d+")
    prepare(images, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 4 and not any(path.name.startswith(".") for path in before)

    def never(path):
        raise AssertionError("read again")

    monkeypatch.setattr("mrirecon.training.prior.images._combined", never)
    prepare(images, tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (root / "file1.h5").touch()
    with pytest.raises(AssertionError, match="read again"):
        prepare(images, tmp_path)


def test_dicom_folders(tmp_path):
    """The slices of a sagittal series: AXES tell the planes, `stored` is the file's own."""
    pydicom = pytest.importorskip("pydicom")
    image = np.minimum(shepp_logan((40, 36)).numpy(), 0.3) * 1000
    folder = tmp_path / "sub-7"
    folder.mkdir()
    series = pydicom.uid.generate_uid()
    for number in range(4):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID = meta.MediaStorageSOPClassUID
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID = series
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]  # to the back, down
        data.ImagePositionPatient = [2.0 * number, -20, 20]
        data.PixelSpacing, data.SliceThickness = [1.0, 1.25], 2.0
        data.Rows, data.Columns = image.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.PixelData = (image * (1 - number / 10)).astype(np.uint16).tobytes()
        data.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    images = find_sources([str(tmp_path)], [], r"sub-\d+")
    assert [(i.name, i.patient) for i in images] == [("sub-7", "sub7")]
    volume = prepare(images, tmp_path / "cache")[0]
    assert volume.array.shape == (40, 36, 4) and volume.voxel_mm == pytest.approx((1, 1.25, 2))
    assert volume.across == 2 and volume.lies
    for planes in (["stored"], ["sagittal"]):
        stack = stacks([volume], planes, 1.5, 0.0)
        assert [(s.axis, s.pixel_mm) for s in stack] == [(2, pytest.approx((1, 1.25)))]
    shown = stack[0].image(0).astype(np.float32)
    assert np.corrcoef(shown.ravel(), image.ravel())[0, 1] > 0.999
    dataset = PatchDataset(stack, Augmentation(**PLAIN), seed=0)
    batch = dataset.__getitems__([PatchRequest(0, 0, 0, 24)])
    assert batch.pixel_mm.tolist() == [1.25]  # square, and no finer than the coarser side


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sources": []}, r"data\.sources is empty"),
        ({"patches": [(0.5, 16)]}, r"data\.patches has shares 0\.5"),
        ({"patches": [(1.0, 4)]}, r"below 8 pixels"),
        ({"pixel_mm": (1.5, 0.5)}, r"data\.pixel_mm is 1\.5 to 0\.5"),
        ({"gain": (0.0, 1.0)}, r"data\.gain is 0\.0"),
        ({"phase_rad": (-1.0, 1.0)}, r"data\.phase_rad is -1"),
        ({"resampled": 2.0}, r"data\.resampled is 2"),
        ({"shading": -1.0}, r"data\.shading is -1"),
        ({"share": 2.0}, r"data\.share is 2"),
        ({"batch_size": 0}, r"data\.batch_size is 0"),
        ({"workers": -1}, r"data\.workers is -1"),
        ({"val_slices": 0}, r"data\.val_slices is 0"),
    ],
)
def test_impossible_options(root, cache, changed, words):
    with pytest.raises(ValueError, match=words):
        module(root, cache, **changed)


def test_sources_that_hold_nothing(root, cache, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        module(tmp_path / "nowhere", cache).train_dataloader()
    with pytest.raises(ValueError, match="no NIfTI file and no folder of DICOM files"):
        module(tmp_path, cache).train_dataloader()
    prior_runs.write_nifti(tmp_path / "someone" / "t1.nii.gz", 0)
    with pytest.raises(ValueError, match=r"give data\.patient REGEX"):
        module(tmp_path / "someone", cache, validation=[]).train_dataloader()
