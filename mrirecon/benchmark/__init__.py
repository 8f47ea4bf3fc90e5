"""Methods x masks x noise levels on given scans: one long-form table, made by a run that can be stopped at any time."""

from mrirecon.benchmark.entries import MaskEntry as MaskEntry
from mrirecon.benchmark.entries import MethodEntry as MethodEntry
from mrirecon.benchmark.lesions import Lesions as Lesions
from mrirecon.benchmark.plan import Benchmark as Benchmark
from mrirecon.benchmark.plan import Tuning as Tuning
from mrirecon.benchmark.run import run_benchmark as run_benchmark
from mrirecon.benchmark.sources import Source as Source
from mrirecon.benchmark.sources import find_scans as find_scans
from mrirecon.benchmark.tables import means_of as means_of
from mrirecon.benchmark.tables import read_table as read_table
