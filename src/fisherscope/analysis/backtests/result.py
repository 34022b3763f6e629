"""The result of `backtest`: cost and regret of every search strategy, and its text."""

from dataclasses import dataclass

import polars as pl

from fisherscope.analysis.backtests.predictive_power import GAINS, HEADLINE_BUDGET
from fisherscope.analysis.stats.hypothesis_tests import sign_p

TOO_EASY = 0.3
"""Share of settings within the margin of the best above which a sweep cannot test selection."""
ENOUGH_SWEEPS = 6


@dataclass(frozen=True)
class Backtest:
    """Cost and regret of every search strategy on recorded sweeps; made by `backtest`.

    Args:
        trials: A row per sweep, strategy (`rival`), budget and seed: `regret` (metric on the other seeds
            above the best setting there), `within` the margin, `epochs, samples, seconds` as shares of the
            whole grid.
        predictions: A row per sweep, predictor and mode (`beacons`: the same few settings for all;
            `all others finished`: a diagnostic): ρ of predicted and measured final metric, on other seeds.
        gains: A row per sweep and pair: ρ with (C̄, L) minus ρ without, and its interval over settings.
        sweeps: A row per sweep: `settings, seeds, epochs, margin, easy` (share within the margin of the
            best), `testable`, and AUC of divergence by early measures.
        notes: Sweeps and settings that were left out.
    """

    trials: pl.DataFrame
    predictions: pl.DataFrame
    gains: pl.DataFrame
    sweeps: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def summary(self) -> pl.DataFrame:
        """Means over testable sweeps: `rival, budget, regret, within, epochs, seconds, plays`."""
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
        """Count the sweeps on which (C̄, L) improve the prediction.

        Args:
            pair: Predictor with and predictor without (C̄, L).

        Returns:
            Sweeps with a gain above zero, with its whole interval above zero, and all of them.
        """
        rows = self.gains.filter((pl.col("with") == pair[0]) & pl.col("gain").is_not_null())
        gain, low = (rows[name].cast(pl.Float64) for name in ("gain", "low"))  # of no row, of no type
        return (
            int((gain > 0).sum()),
            int((low.fill_null(-1) > 0).sum()),
            len(rows),
        )

    def answer(self) -> dict[str, object]:
        """Return plain values, for JSON.

        Returns:
            The frames as lists of rows, the regret at the headline budget, and how often (C̄, L) helped.
        """
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
        """Compare each strategy's mean regret with the sweep's margin, over testable sweeps.

        Args:
            budget: One of the budgets of `backtest`.

        Returns:
            A frame: `rival, regret_over_margin, sweeps_within` (sweeps with a mean of at most 1), `sweeps`.
        """
        margins = self.sweeps.filter(pl.col("testable")).select("sweep", "margin")
        trials = self.trials.filter((pl.col("budget") == budget) & pl.col("regret").is_not_null()).join(
            margins, on="sweep"
        )
        shares = trials.group_by("sweep", "rival", maintain_order=True).agg(
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
        lines = [_sweep_text(row) for row in self.sweeps.iter_rows(named=True)]
        lines += [self._budget_text(HEADLINE_BUDGET), *(self._gain_text(pair) for pair in GAINS)]
        return "\n".join(line for line in [*lines, *self.notes] if line)

    def _budget_text(self, budget: float) -> str:
        shares = {row["rival"]: row for row in self.within_margin(budget).iter_rows(named=True)}
        rows = self.summary.filter((pl.col("budget") == budget) & pl.col("regret").is_not_null())
        lines = []
        for row in rows.iter_rows(named=True):
            text = f"  {row['rival']}: {row['regret']:.4g}, {row['within']:.0%} of trials within the margin"
            if (share := shares.get(row["rival"])) is not None:
                text += (
                    f"; {share['regret_over_margin']:.2f} margins, within it on {share['sweeps_within']} of "
                    f"{share['sweeps']} sweeps"
                )
            lines.append(text)
        head = f"Mean regret at a total cost of at most {budget:.0%} of one seed of the grid:"
        if not shares:
            head = (
                "No sweep can test selection (too many settings lie within the margin). Mean regret at "
                f"{budget:.0%} of one seed of the grid:"
            )
        return "\n".join([head, *lines]) if lines else ""

    def _gain_text(self, pair: tuple[str, str]) -> str:
        positive, clear, count = self.wins(pair)
        if not count:
            return ""
        mean = float(self.gains.filter(pl.col("with") == pair[0])["gain"].drop_nulls().to_numpy().mean())
        text = (
            f"{pair[0]} over {pair[1]}: ρ gains {mean:+.3f} on average; above zero on {positive} of {count} "
            f"sweeps (sign test p = {sign_p(positive, count):.2g}), with its whole interval on {clear}."
        )
        if count < ENOUGH_SWEEPS:
            text += f" Fewer than {ENOUGH_SWEEPS} sweeps: too few to generalise."
        return text


def _sweep_text(row: dict[str, object]) -> str:
    text = (
        f"{row['sweep']}: {row['settings']} settings ({row['diverged']} diverged), {row['seeds']} seeds, "
        f"{row['epochs']} epochs; {row['easy']:.0%} lie within the margin {row['margin']:.3g} of the best"
    )
    return text + ("." if row["testable"] else f": above {TOO_EASY:.0%}, so it cannot test selection.")
