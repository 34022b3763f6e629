"""The options by which each figure follows the formulas of the paper's authors."""

from __future__ import annotations

import inspect
from typing import Any

from fisherscope.figures import FIGURES
from fisherscope.figures.plane import figure_3

PAPER = {"x": "cond_mean_paper", "y": "energy_sum_paper", "method": "paper", "metric": "test/error"}
"""C̄ over the measured steps, L estimated from them, five-nearest contours, the test error."""


def figure_parameters(number: str) -> set[str]:
    """Return the names of a figure's parameters.

    Args:
        number: Number of the figure in the paper, such as "1b".

    Returns:
        The names, those that it passes on included.
    """
    passed_on = inspect.signature(figure_3).parameters if number == "7" else {}
    return {*inspect.signature(FIGURES[number]).parameters, *passed_on}


def paper_options(number: str) -> dict[str, Any]:
    """Return the options, of those that a figure takes, by which it follows the authors' program.

    Source: the published code of Liao et al. 2020 (docs/paper.md).

    Args:
        number: Number of the figure in the paper, such as "1b".

    Returns:
        Values by the parameters of the figure's function.

    Example:
        ```python
        from fisherscope.figures.paper_options import paper_options

        assert paper_options("4") == {"x": "cond_mean_paper", "y": "energy_sum_paper"}
        ```
    """
    return {key: value for key, value in PAPER.items() if key in figure_parameters(number)}
