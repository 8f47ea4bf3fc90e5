"""3D volumes in memory: built once as long as they fit, only their samples, and pickled without them."""

import pickle

import pytest
import torch

from mrirecon.io import kept_volumes
from mrirecon.io.kept_volumes import KeptVolumes, SampledVolume

MASK = torch.tensor([[True, False, True], [False, True, False]])


class Building:
    """Builds volumes of 2 slices, 1 coil and 3 samples: 48 bytes each."""

    def __init__(self):
        self.built = []

    def __call__(self, volume):
        self.built.append(volume)
        samples = (torch.arange(6).reshape(2, 1, 3) + 10 * volume).to(torch.complex64)
        return SampledVolume(samples, MASK)


def test_a_plane_has_its_samples_in_their_places():
    plane = Building()(1).plane(1)
    assert plane[0].real.tolist() == [[13, 0, 14], [0, 15, 0]]


@pytest.mark.parametrize(("kept", "built"), [(48, [0, 1, 0, 1]), (96, [0, 1]), (1, [0, 1, 0, 1])])
def test_volumes_are_built_once_where_they_fit(kept, built, monkeypatch):
    monkeypatch.setattr(kept_volumes, "KEPT", kept)
    build = Building()
    volumes = KeptVolumes(build)
    for volume in (0, 0, 1, 1, 0, 1):
        assert int(volumes(volume).samples[0, 0, 0].real) == 10 * volume
    assert build.built == built


def test_what_was_asked_for_longest_ago_is_forgotten(monkeypatch):
    monkeypatch.setattr(kept_volumes, "KEPT", 96)
    build = Building()
    volumes = KeptVolumes(build)
    for volume in (0, 1, 0, 2, 0, 1):
        volumes(volume)
    assert build.built == [0, 1, 2, 1]


def test_a_pickle_has_no_volumes():
    volumes = KeptVolumes(Building())
    volumes(0)
    again = pickle.loads(pickle.dumps(volumes))
    assert not again._kept and again(1).plane(0).shape == (1, 2, 3)
