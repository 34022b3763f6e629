"""The tables of docs/reproduce.md: the recipes, and what was published and reached."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from statistics import mean, stdev
from typing import Any

from experiments.study.tables import markdown

from fisherscope.analysis.tables.policy_kinds import kind_of
from fisherscope.reproduce import paper_results, recipe, recipe_names
from fisherscope.reproduce.published_results import KINDS
from fisherscope.training import paper_settings

Row = dict[str, Any]
IMAGES = {"mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000, "svhn": 604_388}
FULL = "full"
"""Groups whose name begins so are of runs at full length; the others are of `--scale`."""
COMPARED = ("rule", "stride", "validation", "augment")
"""Settings of the preset that a run's row has."""


def blocks(results: dict[str, list[Row]]) -> dict[str, str]:
    """Return each block of the page by its name."""
    at_scale = {name: rows for name, rows in results.items() if not name.startswith(FULL) and rows}
    return {
        "recipes": recipes(),
        "full": full({name: rows for name, rows in results.items() if name.startswith(FULL)}),
        **{f"scaled {name}": scaled(rows) for name, rows in at_scale.items()},
        **{f"runs {name}": runs_text(rows) for name, rows in at_scale.items()},
    }


def recipes() -> str:
    """Write a row a recipe: runs and what they train, and the published hours of one run."""
    head = ["command", "runs", "epochs", "images", "sample passes", "GPU hours of one run, as published"]
    rows = []
    for name in recipe_names():
        made = recipe(name)
        hours = [one.hours for one in paper_results(made.task) if one.hours is not None]
        published = f"{min(hours):g} to {max(hours):g}" if hours else "–"
        images = IMAGES[made.task.partition("/")[0]]
        rows.append([
            f"`fisherscope reproduce {name}`", len(made.configurations()), made.settings["epochs"],
            f"{images:,}", f"{made.passes():.2g}", published,
        ])  # fmt: skip
    return markdown(head, rows)


def full(groups: dict[str, list[Row]]) -> str:
    """Write each run at full length beside what was published of its setting."""
    head = ["task", "setting", "published (%)", "reached (%)", "seed", "epochs", "running training error (%)",
            "differs"]  # fmt: skip
    table = []
    for name, row in [(name, row) for name, rows in sorted(groups.items()) for row in rows]:
        best = [one for one in paper_results(row["task"]) if one.setting == _setting(row)]
        published = f"{best[0].error:.2f} ± {best[0].std:.2f}, 5 seeds" if best else "none"
        reached = _percent(row["test_error"])
        if row["status"] != "finished":
            reached += " so far" if row["status"] != "diverged" else ", diverged"
        paper = paper_settings(row["task"])
        others = [f"{key}: {row[key]}" for key in COMPARED if row[key] != paper[key]]
        table.append([
            row["task"], f"`{_setting(row)}`", published, reached, row["seed"],
            f"{row['reached']} of {row['epochs']}", _percent(row["running_error"]),
            ", ".join([*([name.removeprefix(FULL).strip(" ,")] if name != FULL else []), *others]),
        ])  # fmt: skip
    return markdown(head, table)


def scaled(rows: list[Row]) -> str:
    """Write what was published, what the same setting reached at `--scale`, and the best there, by kind."""
    task = rows[0]["task"]
    ended = [row for row in rows if row["status"] == "finished"]
    by_what = {one.what: one for one in paper_results(task)}
    table = []
    for what in ("best of the grid", *KINDS):
        paper = by_what.get(what)
        mine = [row for row in ended if _is_of(row, what)]
        errors: dict[str, list[float]] = {}
        for row in mine:
            errors.setdefault(_setting(row), []).append(row["test_error"])
        best = min(errors, key=lambda name: mean(errors[name]), default=None)
        table.append([
            what,
            "–" if paper is None else f"`{paper.setting}` {paper.error:.2f} ± {paper.std:.2f}",
            _error(errors.get(paper.setting)) if paper is not None else "–",
            "–" if best is None else f"`{best}` {_error(errors[best])}",
        ])  # fmt: skip
    return markdown(["", "published (%)", "the same setting here (%)", "best here (%)"], table)


def runs_text(rows: list[Row]) -> str:
    """Say how many runs there are, how they ended, what they trained on, and how long it took."""
    ends = Counter(row["status"] for row in rows)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(ends.items(), key=lambda e: -e[1]))
    first = rows[0]
    seeds = len({row["seed"] for row in rows})
    spent = max(_time(row["updated"]) for row in rows) - min(_time(row["created"]) for row in rows)
    minutes = spent.total_seconds() / 60
    return (
        f"Runs: {counts}; {seeds} seed{'s' if seeds > 1 else ''}, {first['epochs']} epochs of "
        f"{first['limit_train']:,} images, tested on {first['limit_test']:,}. From the first run's start to "
        f"the last one's end: {minutes:.0f} minutes, on two cores that other work shared."
    )


def _is_of(row: Row, what: str) -> bool:
    fixed = row["policy"] == f"s{row['batch_size']}"
    if what == "best of the grid":
        return fixed
    return abs(row["lr"] - 0.1) < 1e-9 and kind_of(_setting(row), fixed) == what


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _setting(row: Row) -> str:
    return f"{row['policy']}-lr{row['lr']:g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _error(values: list[float] | None) -> str:
    if not values:
        return "–"
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{spread}"
