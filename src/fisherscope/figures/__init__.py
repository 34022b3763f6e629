"""Figures of runs: charts for the report."""

from fisherscope.figures.interactive import curves_chart, landscape_chart

__all__ = ["curves_chart", "landscape_chart"]
