"""Figure 6: training and test error against epochs."""

from __future__ import annotations

import re

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fisherscope.analysis import AnalysisError, Settings
from fisherscope.analysis.data.labels import RUNNING, metric_kind, metric_label, setting_label, shown_scale
from fisherscope.analysis.data.seed_means import comparable, lost_settings, over_seeds
from fisherscope.analysis.data.settings import RunsLike, settings_of
from fisherscope.analysis.tables.policy_kinds import kind_of
from fisherscope.figures.log_axes import log_axis
from fisherscope.figures.plane import finals
from fisherscope.figures.style import CATEGORIES, DASHES, legend, note, panels, paper_style

AT_MOST, COLUMNS = 5, 4


def figure_6(
    runs: RunsLike, *, settings: tuple[str, ...] | None = None, metric: str | None = None,
    task: str | None = None, notes: bool = True,
) -> Figure:  # fmt: skip
    """Draw training and test metric against epochs, a line per setting, bands over seeds.

    Args:
        runs: From `load_runs`, or a directory.
        settings: Names such as `s32-lr0.1`; by default the best of each kind (fixed, -∅, -MS), then the next.
            Two schedules or more have a column each, with the fixed settings named, by default those
            of their first and last batch size.
        metric: Its last part is used (`error`); the validation metric's by default.
        task: Task, if the runs are of several.
        notes: Print notes below the panels.

    Returns:
        The figure.

    Raises:
        AnalysisError: There is no such setting, or none has an epoch; the text says what is there.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import figures

        for size in (8, 16, 32):
            config = {"batch_size": size, "lr": 0.1, "seed": 0, "epochs": 2}
            with fs.open_run(f"runs/figure_6/s{size}", config) as run:
                for epoch in (1, 2):
                    run.log_epoch(
                        step=64 // size * epoch, train_error=0.1, val_error=0.1 + 1 / size,
                        fisher_cond_mean=size * epoch, fisher_energy_sum=epoch / size,
                    )
        figures.save(figures.figure_6("runs/figure_6"), "figure_6.png")
        ```
    """
    source = settings_of(runs, task=task)
    name, smaller = source.metric(metric)
    chosen = _check_settings(source, settings) if settings else _best(source, name, smaller)
    columns = _columns(source, name)
    groups = _with_beacons(source, chosen, named=settings is not None)
    with paper_style():
        if len(groups) == 1:
            figure, axes = panels(1, len(columns), (5.0, 3.9))
        else:
            figure, axes = panels(len(columns), len(groups), (4.2, 3.3))
        everyone = comparable(
            source.where(pl.col("setting").is_in([name for group in groups for name in group]))
        )
        for place, panel in enumerate(axes):
            row, which = divmod(place, len(groups))
            column, group = columns[row], groups[which]
            rows = over_seeds(everyone, column)
            _draw(panel, rows.filter(pl.col("setting").is_in(group)), column, group, rows["value"].to_list())
            if len(groups) > 1:
                panel.set_title(setting_label(group[0]) if not row else "", fontsize=11)
                if not row:
                    panel.legend(fontsize=8, loc="upper right")
                if which:
                    panel.set_ylabel("")
        if len(groups) == 1:
            legend(figure, axes[-1])
        note(figure, [_seeds_text(everyone), *source.notes] if notes else ())
    return figure


def _with_beacons(source: Settings, chosen: list[str], *, named: bool) -> list[list[str]]:
    """Group the settings by panel column: each schedule first, then its beacons.

    Beacons are the fixed settings that were named; by default those of the schedule's learning rate with its
    first and its last batch size. Without two schedules that have beacons, all settings share one column.

    Returns:
        Names of settings, a list a column.
    """
    fixed = source.fixed().where(~pl.col("setting").is_in(lost_settings(source)), pl.col("reached") > 0)
    names = fixed.frame["setting"].unique(maintain_order=True).to_list()
    schedules = [setting for setting in chosen if setting not in names]
    groups = []
    for schedule in schedules[:COLUMNS]:
        own = [setting for setting in chosen if setting in names] if named else []
        match = re.match(r"s(\d+)-to-(\d+).*(-lr[\d.e-]+)$", schedule)
        if not own and match is not None:
            own = [n for n in (f"s{match[1]}{match[3]}", f"s{match[2]}{match[3]}") if n in names]
        groups.append([schedule, *own])
    return groups if len(groups) > 1 and all(len(group) > 1 for group in groups) else [chosen]


def _seeds_text(source: Settings) -> str:
    counts = source.frame.group_by("setting").len()["len"].to_list()
    if max(counts, default=1) < 2:
        return ""
    many = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"{many} seeds per setting; bands are one deviation."


def _draw(
    axes: Axes, rows: pl.DataFrame, column: str, chosen: list[str], shown: list[float]
) -> None:  # fmt: skip
    """Draw the curves of some settings on an axis that shows all values of the figure."""
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
    log_axis(axes, "y", [scale * value for value in shown])
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylabel(metric_label(column))


def _columns(source: Settings, name: str) -> list[str]:
    """Return the training and test (else validation) columns of the metric's kind."""
    kind, columns = metric_kind(name), source.epochs.columns
    running = f"train/{kind}{RUNNING}"
    whole = running in columns and source.epochs[running].null_count() == 0  # not in older runs
    names = [running if whole else f"train/{kind}", f"test/{kind}", f"val/{kind}"]
    columns_of_kind = [column for column in names if column in columns]
    return columns_of_kind[:2] if columns_of_kind else [name]


def _best(source: Settings, name: str, smaller: bool) -> list[str]:
    """Return the best finished setting of each kind, then the next ones.

    If none has finished: the first ones with an epoch.

    Returns:
        Names of settings.
    """
    final_rows = finals(source, name)[0].sort("value", descending=not smaller, maintain_order=True)
    if not len(final_rows):
        started = source.where(pl.col("reached") > 0).frame["setting"].unique(maintain_order=True).to_list()
        if not started:
            raise AnalysisError(f"drawing figure 6 of {source.describe()}: no run has logged an epoch")
        return started[:AT_MOST]
    kinds = {
        kind_of(row["setting"], row["fixed"]): row["setting"]
        for row in final_rows.reverse().iter_rows(named=True)
    }
    first = [setting for setting in final_rows["setting"] if setting in kinds.values()]
    return [*first, *(s for s in final_rows["setting"] if s not in first)][:AT_MOST]


def _check_settings(source: Settings, names: tuple[str, ...]) -> list[str]:
    from difflib import get_close_matches

    there = source.frame["setting"].unique(maintain_order=True).to_list()
    for name in names:
        if name not in there:
            near = get_close_matches(name, there, n=4, cutoff=0.3)
            raise AnalysisError(
                f"drawing figure 6: there is no setting {name!r}; near: {', '.join(near or there[:6])}"
            )
    lost_names = [name for name in names if name in lost_settings(source)]
    if len(lost_names) == len(names):
        raise AnalysisError(f"drawing figure 6: {', '.join(lost_names)} diverged or failed; choose others")
    return [name for name in names if name not in lost_names]
