"""The line of progress."""

from mrirecon.cli.progress import slices_progress


def test_a_long_name_leaves_room_for_the_numbers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with slices_progress("unrolled_prior patient20_study2_T1W_axial_0.h5") as show:
        show(120, 240)
        show(240, 240)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("unrolled_prior") and "…" in line.split("━")[0]
    assert "240/240 slices, elapsed 0:00:0" in line and "left 0:00:00" in line
