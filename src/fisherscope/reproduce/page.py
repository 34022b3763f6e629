"""Write the page of an experiment: its scale, published and reached results, Table 1, figures."""

from __future__ import annotations

import base64
from pathlib import Path

from fisherscope import analysis, figures
from fisherscope.analysis import AnalysisError
from fisherscope.figures.paper_options import paper_options
from fisherscope.report.html_document import document
from fisherscope.reproduce.comparison import HEAD, compare, comparison_rows
from fisherscope.reproduce.recipes import RATE, Recipe, describe_scale
from fisherscope.runs.reader import load_runs

AT_RATE = ("1d", "2", "5")
"""Figures of the learning rate of Table 1 alone."""


def figure_options(number: str) -> dict[str, object]:
    """Return the options by which a figure of the page is drawn: those of the authors' program.

    Args:
        number: Number of the figure in the paper.

    Returns:
        Values by the parameters of the figure's function.
    """
    return {**paper_options(number), **({"lr": RATE} if number in AT_RATE else {})}


def write_page(made: Recipe, root: Path, command: str, plan: str = "") -> Path:
    """Draw the figures of an experiment and write its page.

    Args:
        made: The recipe that was run.
        root: Directory of the experiment; its runs are in `runs`.
        command: Command that makes the page again.
        plan: Hours, disk and memory as planned, in words.

    Returns:
        `index.html` in the directory; the figures are in it, and beside it as PNG files. A figure that these
        runs cannot make is replaced by the reason.

    Raises:
        AnalysisError: No run of the task is there.

    Cost: some ten seconds for 100 runs.

    Example: docs/reproduce.md has the command that calls it.
    """
    runs = load_runs(root / "runs")
    rows = comparison_rows(compare(runs, made.task))
    try:
        table = str(analysis.table(runs, lr=RATE, paper=True))
    except AnalysisError as error:
        table = f"No Table 1: {error}"
    drawn = []
    for number in made.figures:
        path = root / f"figure-{number}.png"
        try:
            figures.save(figures.FIGURES[number](runs, **figure_options(number)), path)
        except AnalysisError as error:
            drawn.append({"number": number, "reason": str(error), "image": ""})
            continue
        image = base64.b64encode(path.read_bytes()).decode()
        drawn.append({"number": number, "reason": "", "image": f"data:image/png;base64,{image}"})
    status = runs.runs["status"].value_counts().sort("count", descending=True)
    counts = ", ".join(f"{row['count']} {row['status']}" for row in status.iter_rows(named=True))
    text = document(
        "reproduce.html", f"{made.name}: published and reached", [], images=True, recipe=str(made), head=HEAD,
        scale=describe_scale(made), rows=rows, table=table, drawn=drawn, command=command, plan=plan,
        counts=counts, task=made.task,
    )  # fmt: skip
    page = root / "index.html"
    page.write_text(text, encoding="utf-8")
    return page
