"""Draw the rooms and the engine for docs/architecture.md: `python -m experiments.pictures.architecture`.

Rooms come from the layer list in pyproject.toml, arrows from the imports. Both are stored in each picture's
description, and a test compares that with the sources, so that a picture cannot go stale.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import matplotlib as mpl
from experiments.pictures.layered import Layered
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fisherscope"
IMAGES = ROOT / "docs" / "images"
ROOMS, ENGINE = IMAGES / "architecture-rooms.svg", IMAGES / "architecture-engine.svg"
INK, SOFT, PAPER = "#1d2330", "#8a93a6", "#ffffff"
CAPTIONS = {
    "cli": "one verb a file",
    "bench": "times the engine",
    "integrations": "Lightning, HF,\ntrackers",
    "report": "HTML page, live page",
    "reproduce": "the paper, one\ncommand each",
    "advice": "which batch size,\nin a minute",
    "figures": "the paper's figures",
    "search": "successive halving",
    "branching": "the critical\nbatch size",
    "analysis": "claims, selection,\ntables",
    "sweep": "grids in processes",
    "training": "the built-in loop",
    "verification": "is it exact on\nyour model?",
    "tasks": "model, data, loss,\nmetrics",
    "sampler": "draws the batches",
    "monitor": "one row a\nmeasured step",
    "diagnosis": "what is wrong\nin a run",
    "runs": "the run directory",
    "policy": "the next batch size\nand learning rate",
    "eigenvalues": "Gram to spectrum",
    "measures": "formulas on\nspectrum and Gram",
    "gram": "the Gram matrix,\nexactly",
    "model_state": "save and restore\nstate",
    "guard": "errors of ours\nend here",
    "samples": "whose row\nis each",
    "step_cost": "seconds and\nmemory of steps",
    "html_repr": "tables for\nnotebooks",
    "bounded_reading": "which files are\nread, and how much",
    "plain_text": "tables and text for\nterminals",
}
GROUPS = {
    "#dbe7fb": (
        "gram",
        "eigenvalues",
        "measures",
        "samples",
        "model_state",
        "guard",
        "step_cost",
        "html_repr",
        "bounded_reading",
        "plain_text",
    ),
    "#dff3e3": ("monitor", "diagnosis", "runs", "policy", "sampler"),
    "#fdebd3": (
        "tasks",
        "training",
        "sweep",
        "search",
        "branching",
        "verification",
        "advice",
        "bench",
        "reproduce",
    ),
    "#f3e1f3": ("analysis", "figures", "report"),
    "#e7e9ee": ("cli", "integrations"),
}
COLOURS = {room: colour for colour, rooms in GROUPS.items() for room in rooms}


@cache
def rooms() -> tuple[str, ...]:
    """Return the rooms, top floor first, as the import contract lists them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r'type = "layers"\nlayers = \[(.*?)\]', text, re.S)
    assert layers is not None, "pyproject.toml has no import contract of type layers"
    names = re.findall(r'"fisherscope\.(\w+)"', layers[1])
    return tuple(name for name in names if name != "__main__")


@cache
def imports() -> dict[str, frozenset[str]]:
    """Return, for each room, the rooms that its files import; imports for type checkers are left out."""
    edges = {room: set[str]() for room in rooms()}
    for room in edges:
        files = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
        for path in files:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            edges[room] |= {*_imported(tree), *_through_the_front_door(tree)} - {room}
    return {room: frozenset(others) for room, others in edges.items()}


@cache
def _front_door() -> dict[str, str]:
    """Return the room behind each public name, `fs.Monitor` → monitor."""
    homes: dict[str, str] = {}
    for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES":
            homes |= {name: home.split(".")[1] for name, home in ast.literal_eval(node.value).items()}
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_ROOMS":
            homes |= {name: name for name in ast.literal_eval(node.value)}
    return homes


def _through_the_front_door(tree: ast.AST) -> Iterator[str]:
    """Yield the rooms of the names that are read off `fs`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fs":
            yield from [_front_door()[node.attr]] if node.attr in _front_door() else []


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            package, *inside = name.split(".")
            if package == "fisherscope" and inside and inside[0] in rooms():
                yield inside[0]
        yield from _imported(node)


@cache
def floors() -> dict[str, int]:
    """Return the floor of each room: 0 imports no other room, else one above the highest it imports."""
    heights: dict[str, int] = {}
    for room in reversed(rooms()):
        heights[room] = 1 + max((heights[other] for other in imports()[room]), default=-1)
    return heights


def arrows() -> list[tuple[str, str]]:
    """Return the imports between rooms without those that follow from others."""
    return [
        (room, other)
        for room in rooms()
        for other in sorted(imports()[room])
        if not any(other in _below(between) for between in imports()[room] - {other})
    ]


def _below(room: str) -> set[str]:
    """Return every room that a room needs, directly or not."""
    return {room for other in imports()[room] for room in {other, *_below(other)}}


def description() -> str:
    """Return what the picture of the rooms shows, as text that the picture carries."""
    plan = {"floors": {room: floors()[room] for room in rooms()}, "arrows": arrows()}
    return json.dumps(plan, separators=(",", ":"))


# The rooms ----------------------------------------------------------------------------------------------


def rooms_figure() -> Figure:
    """Draw every room on its floor; an arrow goes to a room that is imported."""
    placed = Layered(floors(), arrows())
    across = [x for x, _ in placed.places.values()]
    top, left, right = max(floors().values()), min(across) - 0.75, max(across) + 0.55
    figure, axes = _canvas(11.5, 9.6, (left, right), (-0.55, top + 0.5))
    for floor in range(top + 1):
        axes.axhspan(floor - 0.44, floor + 0.44, color="#f4f6fa", zorder=0)
        axes.text(left + 0.05, floor, f"{floor}", color=SOFT, va="center", fontsize=11, zorder=1)
    for edge in arrows():
        _way(axes, placed.way(edge))
    for room, (x, floor) in placed.places.items():
        _box(axes, (x, floor), (0.92, 0.56), room, CAPTIONS[room], COLOURS[room])
    return figure


def _way(axes: Axes, points: list[tuple[float, float]]) -> None:
    """Draw an arrow through points, smooth, upright where it passes a floor."""
    half = 0.28
    (x, y), *rest = points
    corners, codes = [(x, y - half)], [Curve.MOVETO]
    for k, (to_x, to_y) in enumerate(rest):
        end = to_y + half
        start = corners[-1]
        middle = (start[1] + end) / 2
        corners += [(start[0], middle), (to_x, middle), (to_x, end)]
        codes += [Curve.CURVE4] * 3
        if k < len(rest) - 1:
            corners.append((to_x, to_y - half))
            codes.append(Curve.LINETO)
    axes.add_patch(
        FancyArrowPatch(
            path=Curve(corners, codes), arrowstyle="-|>", mutation_scale=9, color="#6b7488", lw=1.0, zorder=2
        )
    )


# The engine ---------------------------------------------------------------------------------------------

STAGES = (
    (
        "interception",
        "Sees each call\nthat receives a\nparameter, and\nkeeps its inputs.",
        "gram/interception",
    ),
    ("batch axis", "Finds the dimension\nof the samples, by\nrunning 2 and 3\nof them.", "gram/batch_axis"),
    ("rules", "Splits the gradient\nof the call's output\nby sample, one rule\na function.", "gram/rules"),
    ("columns", "Holds one gradient\na sample, in the\ncheapest exact\nform.", "gram/columns"),
    ("accumulation", "Adds the inner\nproducts of all\nparameters to the\nGram matrix.", "gram/accumulation"),
    ("check", "Do the columns\nadd up to the\ngradient that\nhas arrived?", "gram/finalize.py"),
)
"""Stages of a measured step: name, what it does, and where it is."""
PHASES = ((0, 1, "while the forward pass runs"), (2, 4, "while the backward pass runs"), (5, 5, "at the end"))
NOTES = (
    (-0.46, "left", "in: model(x), loss.backward()"),
    (2.5, "center", "factors of n × r and n × q numbers, seldom n × P"),
    (5.46, "right", "out: GramRecord(gram, residual, …)"),
)


def engine_figure() -> Figure:
    """Draw the stages that turn one forward and backward pass into a Gram matrix."""
    missing = [place for _, _, place in STAGES if not (PACKAGE / place).exists()]
    assert not missing, f"the engine's picture names {missing}, which the package does not have"
    figure, axes = _canvas(11.5, 3.5, (-0.56, 5.56), (-0.92, 0.92))
    for first, last, words in PHASES:
        axes.add_patch(_rounded((first - 0.48, -0.62), (last - first + 0.96, 1.3), "#f4f6fa", "none", 0))
        axes.text((first + last) / 2, 0.79, words, ha="center", va="center", fontsize=11.5, color=INK)
    for k, (name, words, place) in enumerate(STAGES):
        _box(axes, (k, 0.08), (0.9, 0.96), name, words, "#dbe7fb", 10.0)
        axes.text(k, -0.51, place, ha="center", va="center", fontsize=9, color=SOFT, family="monospace")
        if k:
            axes.annotate(
                "", (k - 0.445, 0.08), (k - 0.555, 0.08),
                arrowprops={"arrowstyle": "-|>", "color": "#6b7488", "lw": 1.4}, zorder=5,
            )  # fmt: skip
    for x, side, words in NOTES:
        axes.text(x, -0.79, words, ha=side, va="center", fontsize=10.5, style="italic", color=INK)
    return figure


def _canvas(
    width: float, height: float, x: tuple[float, float], y: tuple[float, float]
) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=x, ylim=y)
    axes.axis("off")
    return figure, axes


def _rounded(
    corner: tuple[float, float], size: tuple[float, float], colour: str, edge: str, zorder: int
) -> FancyBboxPatch:
    return FancyBboxPatch(
        corner,
        *size,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=colour,
        edgecolor=edge,
        zorder=zorder,
    )


def _box(
    axes: Axes,
    middle: tuple[float, float],
    size: tuple[float, float],
    name: str,
    words: str,
    colour: str,
    size_of_words: float = 8.6,
) -> None:
    (x, y), (width, height) = middle, size
    axes.add_patch(_rounded((x - width / 2, y - height / 2), size, colour, "#6b7488", 3))
    lines = words.count("\n") + 1
    text = {"ha": "center", "va": "center", "color": INK, "zorder": 4}
    axes.text(x, y + 0.2 * height + 0.02 * (lines - 1), name, fontsize=11, weight="bold", **text)
    axes.text(x, y - 0.16 * height, words, fontsize=size_of_words, linespacing=1.2, **text)


def main() -> None:
    """Write both pictures, the same bytes for the same sources."""
    with mpl.rc_context({"svg.hashsalt": "fisherscope", "font.family": "DejaVu Sans"}):
        for path, figure in ((ROOMS, rooms_figure()), (ENGINE, engine_figure())):
            text = description() if path == ROOMS else json.dumps(STAGES)
            figure.savefig(path, metadata={"Date": None, "Description": text})
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
