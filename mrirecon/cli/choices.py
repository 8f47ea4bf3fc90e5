"""Options that several commands share: device, slices, mask, maps."""

from __future__ import annotations

from mrirecon.io.layout import Layout
from mrirecon.methods import Calibrated
from mrirecon.methods.choices import MaskChoice as MaskChoice
from mrirecon.methods.choices import choose_maps as choose_maps
from mrirecon.methods.choices import maps_of_slices as maps_of_slices
from mrirecon.methods.choices import parse_slices as parse_slices
from mrirecon.methods.device import Device as Device
from mrirecon.methods.device import choose_device as choose_device

SCAN_ARGUMENT = {
    "metavar": "SCAN",
    "help": "k-space file: fastMRI or MRD HDF5, BART cfl, npy, npz, MATLAB or Siemens twix",
}
# group of options -> (class, title in the help, fields that are no options)
CALIBRATION = {"calibration": (Calibrated, "how coil maps are estimated", ("kind",))}
# options without a name before them: parameter -> (class, title in the help)
LAYOUT = {"layout": (Layout, "how k-space is stored, where the file does not say")}
