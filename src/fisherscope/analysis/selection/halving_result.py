"""What successive halving has chosen from runs on disk, how sure that is, and what it cost."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.setting_grid import edges
from fisherscope.analysis.data.settings import FloatArray, setting_name
from fisherscope.analysis.selection.result import RATES
from fisherscope.analysis.selection.successive_halving import HalvingPlan, HalvingState, Round, standing
from fisherscope.analysis.stats.hypothesis_tests import Z80, share_deviation, share_interval
from fisherscope.runs.reader import Runs

TIMES = ("time/train_s", "time/eval_s")


@dataclass(frozen=True)
class Candidate:
    """A setting that may be chosen, and its run."""

    run_id: str
    batch_size: int
    lr: float

    @property
    def name(self) -> str:
        """As the paper writes it: `s32-lr0.1`."""
        return setting_name(self.batch_size, self.lr)


@dataclass(frozen=True)
class HalvingResult:
    """Where choosing stands; made by `choice`.

    Args:
        candidates: In the order of the grid.
        plan: The rungs.
        standing: Comparisons made, what to train next, what was chosen.
        metric: Column of the epochs that compares.
        smaller: Whether smaller is better.
        values: The metric as recorded, shape (n, epochs + 1); NaN where it is not there.
        shown: Columns of each setting at each epoch that decide nothing: C̄_K and L_K.
        seconds: Trained and evaluated, each setting, shape (n,).
        samples: That a validation metric is a share of; None where it is none.
    """

    candidates: tuple[Candidate, ...]
    plan: HalvingPlan
    standing: HalvingState
    metric: str
    smaller: bool
    values: FloatArray
    shown: dict[str, FloatArray]
    seconds: FloatArray
    samples: int | None

    @property
    def spent(self) -> int:
        """Epochs trained."""
        return int(self.reached.sum())

    @property
    def reached(self) -> NDArray[np.int64]:
        """Epochs of each setting, shape (n,)."""
        return np.asarray((~np.isnan(self.values[:, 1:])).sum(axis=1), dtype=np.int64)

    @property
    def recommended(self) -> Candidate | None:
        """The setting that was finished."""
        chosen = self.standing.chosen
        return None if chosen is None else self.candidates[chosen]

    @property
    def interval(self) -> tuple[float, float] | None:
        """80 % interval of the chosen one's metric, from the number of validation samples alone."""
        if self.standing.chosen is None or self.samples is None:
            return None
        return share_interval(float(self.values[self.standing.chosen, self.plan.epochs]), self.samples)

    @property
    def rivals(self) -> list[tuple[Candidate, int]]:
        """Settings that could not be told from the chosen one where they were last compared, and that epoch.

        Best first, the last comparison before earlier ones; empty where the metric's noise is not known.
        """
        chosen, found = self.standing.chosen, dict[int, int]()
        if chosen is None or self.samples is None:
            return []
        for made in reversed(self.standing.rounds):
            values = self.values[:, made.epoch]
            for k in made.order[np.isfinite(self.values[made.order, made.epoch])].tolist():
                reach = Z80 * math.hypot(
                    *(share_deviation(float(values[i]), self.samples) for i in (k, chosen))
                )
                worse = (values[k] - values[chosen]) * (1 if self.smaller else -1)
                if k != chosen and k not in found and self._last(k) == made.epoch and worse <= reach:
                    found[k] = made.epoch
        return [(self.candidates[k], epoch) for k, epoch in found.items()]

    @property
    def fastest(self) -> tuple[Candidate, float] | None:
        """The fastest rival, and how many times faster it trains; None unless by a tenth or more."""
        if self.recommended is None or not self.rivals:
            return None
        pace = self.seconds / np.maximum(self.reached, 1)
        places = [self.candidates.index(rival) for rival, _ in self.rivals]
        best = min(places, key=lambda k: pace[k])
        times = pace[self.standing.chosen] / pace[best] if pace[best] > 0 else 0.0
        return (self.candidates[best], float(times)) if times >= 1.1 else None

    @property
    def worsened(self) -> tuple[int, float] | None:
        """The comparison at which the chosen one was better than at its end, beyond noise: epoch and value.

        It was chosen for what it did then. None also where the metric's noise is not known.
        """
        chosen, samples = self.standing.chosen, self.samples
        if chosen is None or samples is None or not self.standing.rounds:
            return None
        values = self.values[chosen, [made.epoch for made in self.standing.rounds]]
        k = int(np.argmin(values if self.smaller else -values))
        end, best = float(self.values[chosen, self.plan.epochs]), float(values[k])
        reach = Z80 * math.hypot(*(share_deviation(value, samples) for value in (end, best)))
        fell = (end - best) * (1 if self.smaller else -1) > reach
        return (self.standing.rounds[k].epoch, best) if fell else None

    @property
    def edges(self) -> list[tuple[str, float, float]]:
        """Where the chosen one lies at the end of an axis: which, its value, and what to try beyond."""
        if self.standing.chosen is None:
            return []
        sizes = np.array([c.batch_size for c in self.candidates], dtype=np.float64)
        return edges(sizes, np.array([c.lr for c in self.candidates]), self.standing.chosen)

    def answer(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        best = self.recommended
        return {
            "recommended": None if best is None else vars(best) | {"setting": best.name},
            "metric": self.metric,
            "value": None
            if self.standing.chosen is None
            else float(self.values[self.standing.chosen, self.plan.epochs]),
            "interval": self.interval,
            "not_distinguishable": [{"setting": c.name, "at_epoch": e} for c, e in self.rivals],
            "better_at": None
            if self.worsened is None
            else dict(zip(("epoch", "value"), self.worsened, strict=True)),
            "fastest": None if self.fastest is None else self.fastest[0].name,
            "edges": [{"axis": a, "value": v, "try": t} for a, v, t in self.edges],
            "comparisons": [
                {"epoch": made.epoch, "compared": len(made.order), "kept": self._names(made)}
                for made in self.standing.rounds
            ],
            "lost": [c.name for c in self.lost],
            "spent_epochs": self.spent,
            "allowed_epochs": self.plan.allowed,
            "all_epochs": len(self.candidates) * self.plan.epochs,
            "seconds": float(self.seconds.sum()),
        }

    @property
    def lost(self) -> list[Candidate]:
        """Settings that had no metric where they were compared: diverged or failed."""
        places = [k for r in self.standing.rounds for k in r.order[~np.isfinite(r.values)].tolist()]
        return [self.candidates[k] for k in places]

    def _names(self, made: Round) -> list[str]:
        return [self.candidates[k].name for k in made.order[: made.kept].tolist()]

    def _last(self, k: int) -> int:
        """Epoch at which a setting was last compared."""
        return max(made.epoch for made in self.standing.rounds if k in made.order)


def choice(
    runs: Runs | None,
    candidates: Sequence[Candidate],
    plan: HalvingPlan,
    *,
    metric: str,
    smaller: bool = True,
    failed: Collection[str] = (),
    samples: int | None = None,
) -> HalvingResult:
    """Where choosing stands, from what is on disk; it depends on that alone, so a stopped one goes on.

    Args:
        runs: From `load_runs`; None before there is any. Others than the candidates' are left aside.
        candidates: The settings, in the order of the grid.
        plan: From `ladder`.
        metric: Column of the epochs that compares.
        smaller: Whether smaller is better.
        failed: Run ids that will not go on, besides those that diverged.
        samples: Validation samples, for the noise of an error rate.
    """
    rows = {c.run_id: k for k, c in enumerate(candidates)}
    mine = None if runs is None else runs.filter(pl.col("run_id").is_in(list(rows)))
    epochs = pl.DataFrame() if mine is None else mine.epochs
    ended = [] if mine is None else mine.runs.filter(pl.col("status") == "diverged")["run_id"].to_list()

    def by_epoch(column: str) -> FloatArray:
        out = np.full((len(rows), plan.epochs + 1), math.nan)
        if column in epochs.columns:
            for run_id, epoch, value in epochs.select("run_id", "epoch", column).iter_rows():
                out[rows[run_id], epoch] = math.inf if value is None or not math.isfinite(value) else value
        return out

    values = by_epoch(metric)
    oriented = np.where(np.isinf(values) | smaller, values, -values)
    lost = np.array([c.run_id in {*failed, *ended} for c in candidates])
    seconds = sum(np.where(np.isfinite(t), t, 0.0).sum(axis=1) for t in map(by_epoch, TIMES))
    return HalvingResult(
        tuple(candidates), plan, standing(oriented, lost, plan), metric, smaller, values,
        {name: by_epoch(name) for name in (COND, ENERGY)}, np.asarray(seconds),
        samples if _share(metric, values) else None,
    )  # fmt: skip


def _share(metric: str, values: FloatArray) -> bool:
    """Whether a metric is a share of the samples."""
    return metric.rpartition("/")[2] in RATES and not (values[np.isfinite(values)] > 1).any()
