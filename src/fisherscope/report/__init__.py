"""Show runs as one HTML page: recommendation, landscape, curves, claims; and as a live page."""

from fisherscope.report.page import write_report

__all__ = ["write_report"]
