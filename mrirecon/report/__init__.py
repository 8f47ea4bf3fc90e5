"""Pictures of reconstructions, plots of tables, and the pages that hold them: the report and the viewer."""

from mrirecon.report.page import by_scan as by_scan
from mrirecon.report.page import write_report as write_report
from mrirecon.report.panels import Item as Item
from mrirecon.report.panels import evenly as evenly
from mrirecon.report.pictures import comparison as comparison
from mrirecon.report.pictures import png_of as png_of
from mrirecon.report.pictures import write_png as write_png
from mrirecon.report.quality import plots_of as plots_of
from mrirecon.report.template import check_page as check_page
from mrirecon.report.viewer import write_viewer as write_viewer
