"""The back-test of selection: every rival on recorded sweeps, judged on seeds it did not see."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from fisherscope.analysis.backtests.baselines import RIVALS
from fisherscope.analysis.backtests.predictive_power import GAINS, HEADLINE_BUDGET, foretold
from fisherscope.analysis.data.setting_grid import SettingGrid
from fisherscope.analysis.data.settings import RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError
from fisherscope.analysis.landscapes.plane import margin
from fisherscope.analysis.selection.surrogate import LearningCurves
from fisherscope.analysis.stats.hypothesis_tests import auc, sign_p
from fisherscope.analysis.stats.resampling import SEED
from fisherscope.runs.reader import Runs, load_runs

BUDGETS = (0.1, 0.2, 0.3, 0.5)
TOO_EASY = 0.3
"""Share of settings within the margin of the best above which a sweep cannot test selection."""
ENOUGH_SWEEPS = 6
DRAWS = 30
"""Of the rivals that draw at random."""


@dataclass(frozen=True)
class Backtest:
    """What each way of choosing would have cost and lost; made by `backtest`.

    Args:
        trials: A row a sweep, rival, budget and seed: `regret` (metric on the other seeds above the best
            setting there), `within` the margin, `epochs, samples, seconds` paid as shares of the whole grid.
        predictions: A row a sweep, predictor and mode (`beacons`: the same few for all; `all others
            finished`: a diagnostic): ρ of predicted and measured final metric, on other seeds.
        gains: A row a sweep and pair: ρ with (C̄, L) minus ρ without, and its interval over settings.
        sweeps: A row a sweep: `settings, seeds, epochs, margin, easy` (share within the margin of the best),
            `testable`, and AUC of divergence by early measures.
    """

    trials: pl.DataFrame
    predictions: pl.DataFrame
    gains: pl.DataFrame
    sweeps: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def summary(self) -> pl.DataFrame:
        """Mean over testable sweeps and seeds: `rival, budget, regret, within, epochs, seconds, plays`."""
        testable = self.sweeps.filter(pl.col("testable"))["sweep"].to_list()
        return (
            self.trials.filter(pl.col("sweep").is_in(testable or self.sweeps["sweep"].to_list()))
            .group_by("rival", "budget", maintain_order=True)
            .agg(
                pl.col("regret").mean(),
                pl.col("within").mean(),
                pl.col("epochs").mean(),
                pl.col("seconds").mean(),
                pl.col("regret").count().alias("plays"),
            )
            .sort("budget", "regret", nulls_last=True)
        )

    def wins(self, pair: tuple[str, str] = GAINS[0]) -> tuple[int, int, int]:
        """Sweeps with a gain above zero, with its interval above zero, and all of them."""
        rows = self.gains.filter((pl.col("with") == pair[0]) & pl.col("gain").is_not_null())
        gain, low = (rows[name].cast(pl.Float64) for name in ("gain", "low"))  # of no row, of no type
        return (
            int((gain > 0).sum()),
            int((low.fill_null(-1) > 0).sum()),
            len(rows),
        )

    def answer(self) -> dict[str, object]:
        """All of it as plain values, for JSON: frames as lists of rows, and the verdict."""
        frames = ("sweeps", "summary", "predictions", "gains")
        wins = {
            f"{a} over {b}": dict(
                zip(("positive", "interval above zero", "sweeps"), self.wins((a, b)), strict=True)
            )
            for a, b in GAINS
        }
        return {
            **{name: getattr(self, name).to_dicts() for name in frames},
            "at_headline_budget": self.within_margin().to_dicts(),
            "wins": wins,
            "notes": list(self.notes),
        }

    def within_margin(self, budget: float = HEADLINE_BUDGET) -> pl.DataFrame:
        """Of each rival, over testable sweeps, the mean regret in units of the sweep's margin.

        Columns: `rival, regret_over_margin, sweeps_within` (where the sweep's mean is at most 1), `sweeps`.
        """
        margins = self.sweeps.filter(pl.col("testable")).select("sweep", "margin")
        played = self.trials.filter((pl.col("budget") == budget) & pl.col("regret").is_not_null()).join(
            margins, on="sweep"
        )
        shares = played.group_by("sweep", "rival", maintain_order=True).agg(
            (pl.col("regret") / pl.col("margin")).mean().alias("share")
        )
        return (
            shares.group_by("rival", maintain_order=True)
            .agg(
                pl.col("share").mean().alias("regret_over_margin"),
                (pl.col("share") <= 1).sum().alias("sweeps_within"),
                pl.len().alias("sweeps"),
            )
            .sort("regret_over_margin")
        )

    def __str__(self) -> str:
        lines = [_sweep_told(row) for row in self.sweeps.iter_rows(named=True)]
        lines += [self._budget_told(HEADLINE_BUDGET), *(self._gain_told(pair) for pair in GAINS)]
        return "\n".join(line for line in [*lines, *self.notes] if line)

    def _budget_told(self, budget: float) -> str:
        shares = {row["rival"]: row for row in self.within_margin(budget).iter_rows(named=True)}
        rows = self.summary.filter((pl.col("budget") == budget) & pl.col("regret").is_not_null())
        told = []
        for row in rows.iter_rows(named=True):
            text = f"  {row['rival']}: {row['regret']:.4g}, {row['within']:.0%} of plays within the margin"
            if (share := shares.get(row["rival"])) is not None:
                text += (
                    f"; {share['regret_over_margin']:.2f} margins, within it on {share['sweeps_within']} of "
                    f"{share['sweeps']} sweeps"
                )
            told.append(text)
        head = f"Mean regret at a total cost of at most {budget:.0%} of one seed of the grid:"
        if not shares:
            head = f"No sweep can test selection; all the same, at {budget:.0%} of one seed of the grid:"
        return "\n".join([head, *told]) if told else ""

    def _gain_told(self, pair: tuple[str, str]) -> str:
        positive, sure, count = self.wins(pair)
        if not count:
            return ""
        mean = float(self.gains.filter(pl.col("with") == pair[0])["gain"].drop_nulls().to_numpy().mean())
        text = (
            f"{pair[0]} over {pair[1]}: ρ gains {mean:+.3f} on average; above zero on {positive} of {count} "
            f"sweeps (sign test p = {sign_p(positive, count):.2g}), with its interval on {sure}."
        )
        if count < ENOUGH_SWEEPS:
            text += f" Fewer than {ENOUGH_SWEEPS} sweeps: no general sentence follows."
        return text


def backtest(
    runs: RunsLike | Mapping[str, RunsLike],
    *,
    at_epoch: int | None = None,
    budgets: tuple[float, ...] = BUDGETS,
    metric: str | None = None,
) -> Backtest:
    """Play every rival on recorded sweeps within each budget; regret counts on seeds that did not choose.

    Args:
        runs: Sweeps that have ended, by name; one store is split by task.
        at_epoch: Screening epoch; by default a twentieth of the schedule.
        budgets: Shares of the epochs of one seed of the whole grid.
        metric: Column of the epochs; by default the validation metric.

    Raises:
        AnalysisError: No sweep has at least six settings that have ended.

    Cost: about a minute for a sweep of 30 settings and 3 seeds.
    """
    tables: dict[str, list[dict[str, object]]] = {"trials": [], "predictions": [], "gains": [], "sweeps": []}
    notes: list[str] = []
    for name, source in _sweeps(runs).items():
        column, smaller = source.metric(metric)
        recorded, left = _ended(source, column, smaller)
        if recorded is None:
            notes.append(f"{name}: no run of a constant batch size has finished ({source.describe()}).")
            continue
        if len(recorded.grid) < 6:
            notes.append(
                f"{name}: {len(recorded.grid)} settings have ended with all seeds; at least 6 are needed."
            )
            continue
        if left:
            notes.append(f"{name}: {left} settings left out, not all of their seeds have ended.")
        if len(recorded.grid.seeds) < 2:
            notes.append(f"{name}: one seed, so regret counts on the seed that chose and is too small.")
        epoch = at_epoch or max(1, round(recorded.epochs / 20))
        tables["sweeps"].append(_described(name, recorded, column, epoch))
        tables["trials"] += _trials(name, recorded, column, epoch, budgets)
        predicted, gains = foretold(name, recorded, epoch)
        tables["predictions"] += predicted
        tables["gains"] += gains
    if not tables["sweeps"]:
        raise AnalysisError(f"back-testing: no sweep can be used. {' '.join(notes)}")
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


def _ended(source: Settings, metric: str, smaller: bool) -> tuple[LearningCurves | None, int]:
    """Settings of which every seed has ended, and how many were left out; None where none was finished."""
    grid = SettingGrid.of(source, without_diverged=False)
    if not len(grid):
        return None, 0
    final = LearningCurves.of(grid, metric, smaller).final
    whole = np.asarray(~np.isnan(final).any(axis=1))
    if not np.isfinite(final[whole]).any():
        return None, 0
    return LearningCurves.of(grid.part(whole), metric, smaller), int((~whole).sum())


def _described(name: str, recorded: LearningCurves, metric: str, epoch: int) -> dict[str, object]:
    truth = recorded.truth(-1)
    allowed = margin(float(truth.min()), metric)
    easy = float(np.mean(truth <= truth.min() + allowed))
    lost = np.isinf(recorded.final)
    early = min(2, recorded.epochs)
    row: dict[str, object] = {
        "sweep": name, "settings": len(recorded.grid), "seeds": len(recorded.grid.seeds),
        "epochs": recorded.epochs, "screening_epoch": epoch, "margin": allowed, "easy": easy,
        "testable": easy <= TOO_EASY, "diverged": int(lost.any(axis=1).sum()),
    }  # fmt: skip
    for feature in ("cond", "energy", "train_loss"):
        scores = recorded.values[feature][:, :, early]
        known = np.isfinite(scores)
        value = auc(scores[known], lost[known])
        row[f"divergence_auc_{feature}"] = value if math.isfinite(value) else None
    return row


def _trials(
    name: str, recorded: LearningCurves, metric: str, epoch: int, budgets: tuple[float, ...]
) -> list[dict[str, object]]:
    whole = len(recorded.grid) * recorded.epochs
    seconds = recorded.seconds * recorded.epochs
    rows: list[dict[str, object]] = []
    for seed in range(len(recorded.grid.seeds)):
        truth = recorded.truth(seed)
        allowed = margin(float(truth.min()), metric)
        for budget in budgets:
            for rival, play in RIVALS.items():
                drawn = DRAWS if rival in ("random", "hyperband") else 1
                numbers = np.random.default_rng([SEED, seed])
                plays = [play(recorded, seed, budget * whole, epoch, numbers) for _ in range(drawn)]
                lost = [truth[p.chosen] - truth.min() for p in plays if p.chosen is not None]
                paid = np.mean([p.trained for p in plays], axis=0)
                time = float(paid @ recorded.seconds / seconds.sum()) if np.isfinite(seconds).all() else None
                rows.append(
                    {
                        "sweep": name, "rival": rival, "budget": budget, "seed": recorded.grid.seeds[seed],
                        "regret": float(np.mean(lost)) if lost else None,
                        "within": float(np.mean(np.array(lost) <= allowed)) if lost else None,
                        "chosen": _name(recorded, plays[0].chosen),
                        "epochs": float(paid.sum() / whole), "samples": float(paid.sum() / whole),
                        "seconds": time,
                    }
                )  # fmt: skip
    return rows


def _name(recorded: LearningCurves, chosen: int | None) -> str | None:
    return None if chosen is None else recorded.grid.names[chosen]


def _sweep_told(row: dict[str, object]) -> str:
    text = (
        f"{row['sweep']}: {row['settings']} settings ({row['diverged']} diverged), {row['seeds']} seeds, "
        f"{row['epochs']} epochs; {row['easy']:.0%} lie within the margin {row['margin']:.3g} of the best"
    )
    return text + ("." if row["testable"] else f": above {TOO_EASY:.0%}, it cannot test selection.")
