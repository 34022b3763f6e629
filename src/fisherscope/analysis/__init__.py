"""Analyse runs: landscape, tests of the paper's claims, selection, tables. No torch."""

from fisherscope.analysis.backtests.backtesting import backtest
from fisherscope.analysis.backtests.result import Backtest
from fisherscope.analysis.beacon_calibration import beacons_of
from fisherscope.analysis.claim_tests.all_claims import claims
from fisherscope.analysis.claim_tests.verdicts import Claim, Claims, Evidence
from fisherscope.analysis.data.export import Export, export_runs
from fisherscope.analysis.data.settings import Settings, settings_of, together
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.plane import landscape
from fisherscope.analysis.landscapes.result import Landscape
from fisherscope.analysis.landscapes.setting_table import landscape_table
from fisherscope.analysis.navigation.comparison import navigate
from fisherscope.analysis.navigation.result import Navigation
from fisherscope.analysis.selection.expected_error import select
from fisherscope.analysis.selection.result import Selection
from fisherscope.analysis.tables.result import Table
from fisherscope.analysis.tables.table_one import table, table_of_means

__all__ = [
    "AnalysisError",
    "Backtest",
    "Claim",
    "Claims",
    "Evidence",
    "Export",
    "Landscape",
    "Navigation",
    "Selection",
    "Settings",
    "Table",
    "backtest",
    "beacons_of",
    "claims",
    "export_runs",
    "landscape",
    "landscape_table",
    "navigate",
    "select",
    "settings_of",
    "table",
    "table_of_means",
    "together",
]
