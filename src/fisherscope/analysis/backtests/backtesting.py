"""Back-test of selection: every search strategy on recorded sweeps, judged on unseen seeds."""

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from fisherscope.analysis.backtests.baselines import STRATEGIES
from fisherscope.analysis.backtests.predictive_power import predictive_power
from fisherscope.analysis.backtests.result import TOO_EASY, Backtest
from fisherscope.analysis.data.setting_grid import SettingGrid
from fisherscope.analysis.data.settings import RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.selection.learning_curves import LearningCurves
from fisherscope.analysis.stats.hypothesis_tests import auc
from fisherscope.analysis.stats.resampling import SEED
from fisherscope.runs.reader import Runs, load_runs

BUDGETS = (0.1, 0.2, 0.3, 0.5)
DRAWS = 30
"""Repeats of each strategy that draws at random."""


def backtest(
    runs: RunsLike | Mapping[str, RunsLike],
    *,
    at_epoch: int | None = None,
    budgets: tuple[float, ...] = BUDGETS,
    metric: str | None = None,
) -> Backtest:
    """Simulate every search strategy on recorded sweeps within each budget.

    Regret counts on the seeds that did not choose.

    Args:
        runs: Sweeps that have finished, by name; the runs of one directory are split by task.
        at_epoch: Screening epoch; by default a twentieth of the schedule.
        budgets: Shares of the epochs of one seed of the grid_epochs grid.
        metric: Column of the epochs; the validation metric by default.

    Returns:
        Regret and cost of every strategy, sweep, budget and seed. Printing it gives a summary.

    Raises:
        AnalysisError: No sweep has at least six settings that have finished.

    Cost: about a minute for a sweep of 30 settings and 3 seeds.

    Example:
        ```python
        import fisherscope as fs
        from fisherscope import analysis

        for size in (8, 16, 32):
            for lr in (0.05, 0.1):
                for seed in (0, 1):
                    config = {"batch_size": size, "lr": lr, "seed": seed, "epochs": 2}
                    with fs.open_run(f"runs/backtest/s{size}-lr{lr}-seed{seed}", config) as run:
                        for epoch in (1, 2):
                            run.log_epoch(val_error=0.01 * size * lr / epoch + 0.001 * seed)
        result = analysis.backtest("runs/backtest", budgets=(0.8,))
        print(result)
        better, clearly_better, sweeps = result.wins()
        assert better <= sweeps
        print(result.within_margin(budget=0.8), result.answer()["sweeps"])
        ```
    """
    tables: dict[str, list[dict[str, object]]] = {"trials": [], "predictions": [], "gains": [], "sweeps": []}
    notes: list[str] = []
    for name, source in _sweeps(runs).items():
        column, smaller = source.metric(metric)
        curves, incomplete = _complete_curves(source, column, smaller)
        if curves is None:
            notes.append(f"{name}: no run of a constant batch size has finished ({source.describe()}).")
            continue
        if len(curves.grid) < 6:
            notes.append(
                f"{name}: {len(curves.grid)} settings have finished with all seeds; at least 6 are needed."
            )
            continue
        if incomplete:
            notes.append(
                f"{name}: {incomplete} settings are left out because not all of their seeds have finished."
            )
        if len(curves.grid.seeds) < 2:
            notes.append(f"{name}: one seed, so regret is measured on the seed that chose, and is too small.")
        epoch = at_epoch or max(1, round(curves.epochs / 20))
        tables["sweeps"].append(_sweep_row(name, curves, column, epoch))
        tables["trials"] += _trials(name, curves, column, epoch, budgets)
        predictions, gains = predictive_power(name, curves, epoch)
        tables["predictions"] += predictions
        tables["gains"] += gains
    if not tables["sweeps"]:
        raise AnalysisError(f"back-testing: none of the sweeps can be used. {' '.join(notes)}")
    frames = {k: pl.DataFrame(rows, infer_schema_length=None) for k, rows in tables.items()}
    return Backtest(**frames, notes=tuple(notes))


def _sweeps(runs: RunsLike | Mapping[str, RunsLike]) -> dict[str, Settings]:
    if isinstance(runs, Mapping):
        return {name: settings_of(part) for name, part in runs.items()}
    loaded = runs if isinstance(runs, Runs) else load_runs(runs)
    if not len(loaded) or "task" not in loaded.runs.columns:
        return {"sweep": settings_of(runs)}
    tasks = dict.fromkeys(str(task) for task in loaded.runs["task"].to_list())
    return {task: settings_of(loaded, task=task) for task in tasks}


def _complete_curves(source: Settings, metric: str, smaller: bool) -> tuple[LearningCurves | None, int]:
    """Return the curves of settings whose seeds have all finished, and how many are left out."""
    grid = SettingGrid.of(source, without_diverged=False)
    if not len(grid):
        return None, 0
    final = LearningCurves.of(grid, metric, smaller).final
    complete = np.asarray(~np.isnan(final).any(axis=1))
    if not np.isfinite(final[complete]).any():
        return None, 0
    return LearningCurves.of(grid.part(complete), metric, smaller), int((~complete).sum())


def _sweep_row(name: str, curves: LearningCurves, metric: str, epoch: int) -> dict[str, object]:
    final = curves.final_of_other_seeds(-1)
    allowance = margin(float(final.min()), metric)
    easy = float(np.mean(final <= final.min() + allowance))
    diverged = np.isinf(curves.final)
    early = min(2, curves.epochs)
    row: dict[str, object] = {
        "sweep": name, "settings": len(curves.grid), "seeds": len(curves.grid.seeds),
        "epochs": curves.epochs, "screening_epoch": epoch, "margin": allowance, "easy": easy,
        "testable": easy <= TOO_EASY, "diverged": int(diverged.any(axis=1).sum()),
    }  # fmt: skip
    for feature in ("cond", "energy", "train_loss"):
        scores = curves.values[feature][:, :, early]
        finite = np.isfinite(scores)
        value = auc(scores[finite], diverged[finite])
        row[f"divergence_auc_{feature}"] = value if math.isfinite(value) else None
    return row


def _trials(
    sweep: str, curves: LearningCurves, metric: str, epoch: int, budgets: tuple[float, ...]
) -> list[dict[str, object]]:
    grid_epochs = len(curves.grid) * curves.epochs
    seconds = curves.seconds * curves.epochs
    rows: list[dict[str, object]] = []
    for seed in range(len(curves.grid.seeds)):
        final = curves.final_of_other_seeds(seed)
        allowance = margin(float(final.min()), metric)
        for budget in budgets:
            for name, strategy in STRATEGIES.items():
                repeats = DRAWS if name in ("random", "hyperband") else 1
                rng = np.random.default_rng([SEED, seed])
                results = [strategy(curves, seed, budget * grid_epochs, epoch, rng) for _ in range(repeats)]
                regrets = [final[p.chosen] - final.min() for p in results if p.chosen is not None]
                epochs = np.mean([p.trained for p in results], axis=0)
                time = float(epochs @ curves.seconds / seconds.sum()) if np.isfinite(seconds).all() else None
                rows.append(
                    {
                        "sweep": sweep, "rival": name, "budget": budget, "seed": curves.grid.seeds[seed],
                        "regret": float(np.mean(regrets)) if regrets else None,
                        "within": float(np.mean(np.array(regrets) <= allowance)) if regrets else None,
                        "chosen": _name(curves, results[0].chosen),
                        "epochs": float(epochs.sum() / grid_epochs),
                        "samples": float(epochs.sum() / grid_epochs),
                        "seconds": time,
                    }
                )  # fmt: skip
    return rows


def _name(curves: LearningCurves, chosen: int | None) -> str | None:
    return None if chosen is None else curves.grid.names[chosen]
