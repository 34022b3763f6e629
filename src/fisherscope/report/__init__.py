"""The page that a user can show: recommendation, landscape, curves, claims."""

from fisherscope.report.page import write_report

__all__ = ["write_report"]
