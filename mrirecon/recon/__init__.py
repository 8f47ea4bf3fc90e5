"""From a scan and a request to a volume."""

from mrirecon.recon.coil_maps import EstimatedMaps as EstimatedMaps
from mrirecon.recon.coil_maps import GivenMaps as GivenMaps
from mrirecon.recon.coil_maps import MapSource as MapSource
from mrirecon.recon.coil_maps import estimate_maps as estimate_maps
from mrirecon.recon.left_out.comparison import compare as compare
from mrirecon.recon.left_out.ranking import Ranking as Ranking
from mrirecon.recon.pipeline import Pipeline as Pipeline
from mrirecon.recon.pipeline import run as run
from mrirecon.recon.request import Request as Request
from mrirecon.recon.request import reconstruct as reconstruct
from mrirecon.recon.slice_store import SliceStore as SliceStore
