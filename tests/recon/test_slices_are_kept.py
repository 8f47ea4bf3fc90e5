"""Slices that are finished are kept: a stopped run goes on, several processes share, and coupled ones stay together."""

import pytest
import torch
from sampling_cases import SHORT, random_prior, sample, three_slices
from scan_cases import error, pipeline_of

import mrirecon as mr
from mrirecon.recon import SliceStore


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return random_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def scan():
    return three_slices()


class Stop(Exception):
    pass


def stopping_after(slices):
    def progress(done, total):
        if done == slices:
            raise Stop

    return progress


@pytest.mark.parametrize("torn", [False, True])
def test_a_stopped_run_goes_on(torn, prior, scan, tmp_path):
    output, request = tmp_path / "brain.nii.gz", {"method": "dds", "seed": 0}
    options = {"samples": 2, "images_at_once": 2, "trust": "share"}
    whole = sample("dds", prior, scan, **options)
    with pytest.raises(Stop):
        keep = SliceStore(output, request)
        sample("dds", prior, scan, **options, keep=keep, progress=stopping_after(2))
    assert not output.exists()
    kept = sorted(keep.folder.glob("*.safetensors"))
    assert [path.stem for path in kept] == ["0_00000", "0_00001"]
    if torn:
        kept[0].write_bytes(kept[0].read_bytes()[:100])
    before = {path: path.stat().st_mtime_ns for path in kept}
    volume = sample("dds", prior, scan, **options, keep=SliceStore(output, request))
    assert torch.equal(volume.image, whole.image)
    assert torch.equal(volume.extras["std"], whole.extras["std"])
    assert volume.info["null_space_share"] == pytest.approx(whole.info["null_space_share"])
    assert volume.info["acceleration"] == whole.info["acceleration"]
    again = [path for path in kept if path.stat().st_mtime_ns != before[path]]
    assert again == kept[: int(torn)]


def test_shares_make_the_whole(prior, scan, tmp_path):
    keep = SliceStore(tmp_path / "brain.nii.gz", {"seed": 0})
    seen = []
    asked = {**SHORT, "samples": 2, "trust": "share"}
    options = {**asked, "keep": keep, "progress": lambda *done: seen.append(done)}
    pipeline = pipeline_of("dds", scan, weights=prior, **options)
    for share in (2, 0, 3, 1):  # more of them than slices
        pipeline.solve_share(share, 4)
    assert [done for done in seen if done == (1, 1)] == [(1, 1)] * 3
    seen.clear()
    volume = pipeline.run()
    assert not seen  # nothing is left to solve
    whole = sample("dds", prior, scan, **asked)
    assert error(volume.image, whole.image) < 1e-4
    assert volume.info["null_space_share"] == pytest.approx(whole.info["null_space_share"])


def test_slices_of_another_request_are_thrown_away(prior, scan, tmp_path):
    output = tmp_path / "brain.nii.gz"
    sample("dds", prior, scan, keep=SliceStore(output, {"seed": 0}))
    other = SliceStore(output, {"seed": 1})
    assert list(other.load()) == []
    assert not other.folder.exists()


def test_coupled_slices_are_kept_all_or_none(prior, scan, tmp_path):
    output, seen = tmp_path / "brain.nii.gz", []
    options = {"z_smoothness": 0.5, "progress": lambda *done: seen.append(done)}
    whole = sample("dds", prior, scan, **options, keep=SliceStore(output, {}))
    for lost in ([], ["0_00001"], ["0_00000", "0_00002"]):
        keep = SliceStore(output, {})
        for name in lost:
            (keep.folder / f"{name}.safetensors").unlink()
        seen.clear()
        volume = sample("dds", prior, scan, **options, keep=keep)
        assert torch.equal(volume.image, whole.image), lost
        assert volume.info["residual_over_noise"] == whole.info["residual_over_noise"]
        assert bool(seen) == bool(lost)
        assert len(list(keep.folder.glob("*.safetensors"))) == 3


class Breaks(mr.SliceMethod):
    """Zero filling that gives NaN in slice 1."""

    name = "breaks"

    def solve_slice(self, problem):
        image = problem.operator.H(problem.kspace)
        return mr.Solution(image=image * float("nan") if problem.place[1] == 1 else image)


def test_slices_of_nan_are_refused_and_not_kept(scan, tmp_path):
    keep = SliceStore(tmp_path / "brain.nii.gz", {})
    with pytest.raises(
        ValueError, match=r"breaks gave NaN or infinite values for .*: slice 1: try"
    ):
        mr.run(Breaks(), scan, keep=keep, device="cpu")
    assert [path.stem for path in keep.folder.glob("*.safetensors")] == ["0_00000"]
