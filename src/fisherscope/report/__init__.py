"""The page that a user can show: recommendation, landscape, curves, claims."""

from fisherscope.report.page import page, write_report

__all__ = ["page", "write_report"]
