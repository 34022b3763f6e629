"""Figure 6: training and testing error against epochs for chosen settings."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fisherscope.analysis import AnalysisError, Settings
from fisherscope.analysis.data.labels import metric_label, setting_label, shown_scale
from fisherscope.analysis.data.seed_means import broken, comparable, over_seeds
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.analysis.tables.policy_kinds import kind_of
from fisherscope.figures.log_axes import log_axis
from fisherscope.figures.plane import finals
from fisherscope.figures.style import CATEGORIES, DASHES, legend, note, panels, styled

MOST = 5


def figure_6(
    runs: RunsLike, *, settings: tuple[str, ...] | None = None, metric: str | None = None,
    task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Training and testing metric against epochs, a line a setting, bands of one deviation over seeds.

    Args:
        runs: From `load_runs`, or a directory.
        settings: Such as `s32-lr0.1`; by default the best of each kind (fixed, -∅, -MS), then the next.
        metric: Its last part is taken (`error`); by default the validation metric's.
        task: Which, where there are several.
        notes: Small print below.

    Raises:
        AnalysisError: No such setting, or none has an epoch; it says what is there.
    """
    source = settings_of(runs, task=task)
    name, smaller = source.metric(metric)
    chosen = _known(source, settings) if settings else _best(source, name, smaller)
    some = comparable(source.where(pl.col("setting").is_in(chosen)))
    columns = _columns(source, name)
    with styled():
        figure, axes = panels(1, len(columns), (5.0, 3.9))
        for panel, column in zip(axes, columns, strict=True):
            _draw(panel, over_seeds(some, column), column, chosen)
        legend(figure, axes[-1])
        note(figure, [_seeds_told(some), *source.notes] if notes else ())
    return figure


def _seeds_told(source: Settings) -> str:
    counts = source.frame.group_by("setting").len()["len"].to_list()
    if max(counts, default=1) < 2:
        return ""
    many = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"{many} seeds a setting; bands are one deviation."


def _draw(axes: Axes, rows: pl.DataFrame, column: str, chosen: list[str]) -> None:
    scale = shown_scale(column)
    for place, setting in enumerate(chosen):
        line = rows.filter(pl.col("setting") == setting).with_columns(pl.col("value", "low", "high") * scale)
        colour, x = CATEGORIES[place % len(CATEGORIES)], line["epoch"].to_numpy()
        axes.plot(
            x, line["value"].to_numpy(), color=colour, linestyle=DASHES[place % len(DASHES)],
            label=setting_label(setting), marker="o" if len(x) == 1 else None,
        )  # fmt: skip
        if line["low"].is_not_null().any():
            low, high = line["low"].clip(lower_bound=0.0).to_numpy(), line["high"].to_numpy()
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    log_axis(axes, "y", (rows["value"] * scale).to_list())
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylabel(metric_label(column))


def _columns(source: Settings, name: str) -> list[str]:
    """Training and testing (validation where there is no test) of the metric's kind."""
    kind, columns = name.rpartition("/")[2], source.epochs.columns
    wanted = [f"{part}/{kind}" for part in ("train", "test", "val") if f"{part}/{kind}" in columns]
    return wanted[:2] if wanted else [name]


def _best(source: Settings, name: str, smaller: bool) -> list[str]:
    """The best finished setting of each kind, then the next; with none finished, the first with an epoch."""
    found = finals(source, name)[0].sort("value", descending=not smaller, maintain_order=True)
    if not len(found):
        begun = source.where(pl.col("reached") > 0).frame["setting"].unique(maintain_order=True).to_list()
        if not begun:
            raise AnalysisError(f"drawing figure 6 of {source.describe()}: no run has logged an epoch")
        return begun[:MOST]
    kinds = {
        kind_of(row["setting"], row["fixed"]): row["setting"] for row in found.reverse().iter_rows(named=True)
    }
    first = [setting for setting in found["setting"] if setting in kinds.values()]
    return [*first, *(s for s in found["setting"] if s not in first)][:MOST]


def _known(source: Settings, wanted: tuple[str, ...]) -> list[str]:
    from difflib import get_close_matches

    there = source.frame["setting"].unique(maintain_order=True).to_list()
    for name in wanted:
        if name not in there:
            near = get_close_matches(name, there, n=4, cutoff=0.3)
            raise AnalysisError(
                f"drawing figure 6: there is no setting {name!r}; near: {', '.join(near or there[:6])}"
            )
    lost = [name for name in wanted if name in broken(source)]
    if len(lost) == len(wanted):
        raise AnalysisError(f"drawing figure 6: {', '.join(lost)} diverged or failed; choose others")
    return [name for name in wanted if name not in lost]
