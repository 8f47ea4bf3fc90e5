"""Slices that are prepared by another thread while those before are solved."""

import threading
import time
from dataclasses import replace

import pytest
import torch

import mrirecon as mr
from mrirecon.recon import pipeline
from mrirecon.recon.ahead import ahead, for_threads


def test_the_next_item_is_made_while_one_is_worked_on():
    made = []

    def items():
        for number in range(3):
            made.append((number, threading.current_thread().name))
            yield number

    for number in ahead(items()):
        limit = time.monotonic() + 10
        while len(made) < min(number + 2, 3) and time.monotonic() < limit:
            time.sleep(0.001)
        assert [n for n, _ in made] == list(range(min(number + 2, 3)))
    assert all(thread.startswith("ahead") for _, thread in made)


def test_errors_come_in_their_turn():
    def items():
        yield 1
        raise ValueError("slice 2 is broken")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="slice 2"):
        next(found)


def test_one_thread_at_a_time_reads(scan):
    inside, most = [], []

    def read(volume, index):
        inside.append(index)
        most.append(len(inside))
        time.sleep(0.01)
        inside.remove(index)
        return torch.ones(scan.shape[1:], dtype=torch.complex64)

    alone = for_threads(replace(scan, read=read, sampling=read))
    calls = [
        threading.Thread(target=f, args=(0, n))
        for n in range(4)
        for f in (alone.read, alone.sampling)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert len(most) == 8 and max(most) == 1


@pytest.mark.parametrize("method", ["cg_sense", "humus", "dds"])
def test_images_do_not_depend_on_it(method, scan, monkeypatch):
    options = {"levels": 2} if method == "dds" else {}
    solver = mr.METHODS[method](**options)
    expected = mr.run(solver, scan).image
    used = []

    def on_the_cpu(items):
        used.append(True)
        return ahead(items)

    monkeypatch.setattr(pipeline, "ahead", on_the_cpu)
    monkeypatch.setattr(pipeline, "works_alone", lambda device: True)
    assert torch.equal(mr.run(solver, scan).image, expected) and used


@pytest.fixture
def scan():
    return mr.demo_scan("10:13")
