"""The paper's figures from any runs, each as a function that returns a matplotlib figure."""

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from fisherscope.figures.early_positions import figure_1c
from fisherscope.figures.error_by_batch_size import figure_1a
from fisherscope.figures.error_curves import figure_6
from fisherscope.figures.measure_curves import figure_2, figure_4
from fisherscope.figures.plane import figure_1b, figure_3, figure_7
from fisherscope.figures.style import save
from fisherscope.figures.trajectories import figure_1d, figure_5

FIGURES: Mapping[str, Callable[..., Figure]] = {
    "1a": figure_1a,
    "1b": figure_1b,
    "1c": figure_1c,
    "1d": figure_1d,
    "2": figure_2,
    "3": figure_3,
    "4": figure_4,
    "5": figure_5,
    "6": figure_6,
    "7": figure_7,
}
"""By the number that each has in Liao et al. 2020."""

__all__ = [
    "FIGURES",
    "figure_1a",
    "figure_1b",
    "figure_1c",
    "figure_1d",
    "figure_2",
    "figure_3",
    "figure_4",
    "figure_5",
    "figure_6",
    "figure_7",
    "save",
]
