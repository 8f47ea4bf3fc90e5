"""Mangled files of every format that is read, and what a reader may answer: see `cases.mangled` and `oracle.judged`.

`tests/test_mangled_files.py` tries a few hundred, `measurements/fuzz.py` as many as wanted.
"""

from mangling.cases import Case, mangled
from mangling.oracle import FAULTS, Verdict, judged

__all__ = ["FAULTS", "Case", "Verdict", "judged", "mangled"]
