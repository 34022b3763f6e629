"""What runs say: the landscape of a sweep, tests of the paper's claims, selection, tables. No torch."""

from fisherscope.analysis.backtesting import Backtest, backtest
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.exporting import Export, export_runs
from fisherscope.analysis.growth import beacons_of
from fisherscope.analysis.paper_claims import claims
from fisherscope.analysis.plane import Landscape, landscape
from fisherscope.analysis.recommendation import Selection
from fisherscope.analysis.selection import select
from fisherscope.analysis.settings import Settings, settings_of, together
from fisherscope.analysis.tables import Table, table, table_of_means
from fisherscope.analysis.verdicts import Claim, Claims, Part

__all__ = [
    "AnalysisError",
    "Backtest",
    "Claim",
    "Claims",
    "Export",
    "Landscape",
    "Part",
    "Selection",
    "Settings",
    "Table",
    "backtest",
    "beacons_of",
    "claims",
    "export_runs",
    "landscape",
    "select",
    "settings_of",
    "table",
    "table_of_means",
    "together",
]
