"""Pictures of reconstructions, and one HTML file that holds them with every number."""

from mrirecon.report.page import write_report as write_report
from mrirecon.report.pictures import comparison as comparison
