"""The line of progress."""

import time

from mrirecon.progress import say, slices_progress


def test_a_long_name_leaves_room_for_the_numbers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with slices_progress("unrolled_prior patient20_study2_T1W_axial_0.h5") as show:
        show(120, 240)
        show(240, 240)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("unrolled_prior") and "…" in line.split("━")[0]
    assert "240/240 slices, elapsed 0:00:0" in line and "left 0:00:00" in line


def test_parts_of_a_slice_tell_the_time_that_is_left(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with slices_progress("dds scan.h5") as show:
        for done in (0, 0.25, 0.5, 0.75):
            show(done, 1)
            time.sleep(0.01)
    line = capsys.readouterr().err.splitlines()[-1]
    assert "0/1 slices, elapsed 0:00:0" in line and "left 0:00:0" in line


def test_what_is_being_done_stands_in_place_of_the_counts(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with slices_progress("dds scan.h5") as show:
        say(show, "adapting, left-out error 0.249")
        show(3, 10)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("adapting, left-out error 0.249 ━")
    assert "slices" not in line and "elapsed 0:00:0" in line
    with slices_progress("dds scan.h5") as show:
        say(show, "calibrating")
        show(3, 10)
    assert capsys.readouterr().err.splitlines()[-1].startswith("dds scan.h5: calibrating ━")
    with slices_progress("dds scan.h5") as show:
        say(show, "calibrating")
        say(show, "")
        show(10, 10)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("dds scan.h5 ━") and "10/10 slices, elapsed" in line


def test_a_plain_function_is_told_numbers_only():
    say(lambda done, total: None, "calibrating")
    say(None, "calibrating")
