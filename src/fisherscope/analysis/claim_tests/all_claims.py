"""`claims`: the paper's thirteen claims on any sweep."""

from collections.abc import Callable

import polars as pl

from fisherscope.analysis.claim_tests import outcome, position, trajectory
from fisherscope.analysis.claim_tests.schedules import TEXT_13, claim_13_schedules
from fisherscope.analysis.claim_tests.separability import claim_1_separability
from fisherscope.analysis.claim_tests.verdicts import Claim, Claims, judge
from fisherscope.analysis.data.run_measures import COND, ENERGY, at_epoch
from fisherscope.analysis.data.setting_grid import SettingGrid, diverged_settings
from fisherscope.analysis.data.setting_notes import count_text
from fisherscope.analysis.data.settings import RunsLike, Settings, settings_of
from fisherscope.analysis.errors import AnalysisError

TEXT_8 = "The best region depends little on the number of classes: a setting transfers"

ERROR_CLAIMS = (8, 9, 13)
"""Claims about errors alone."""


def claims(
    runs: RunsLike, *, other: RunsLike | None = None, metric: str | None = None, task: str | None = None,
    x: str = COND, y: str = ENERGY,
) -> Claims:  # fmt: skip
    """Test every claim of the paper on these runs.

    Finished runs count; settings of which a seed diverged count in claim 6 only. docs/analysis.md lists the
    tests.

    Args:
        runs: From `load_runs`, or a directory.
        other: Runs of the same settings on a second task, for claim 8.
        metric: Column of the epochs; the validation metric by default.
        task: Task, if the runs are of several.
        x: Measure in place of C̄_K, any axis of `landscape`, such as `cond_mean_epochs`.
        y: Measure in place of L_K.

    Returns:
        Each claim with its verdict, figures, intervals, n, and p-value corrected over the claims.

    Raises:
        AnalysisError: There is no run, several tasks, or no such metric.

    Cost: seconds; 2000 permutations and 1000 bootstraps per test.

    Source: Liao et al. 2020 (docs/analysis.md).

    Example:
        ```python
        import fisherscope as fs

        for size in (8, 16):
            for seed in (0, 1):
                config = {"batch_size": size, "lr": 0.1, "seed": seed, "epochs": 1}
                with fs.open_run(f"runs/claims/s{size}-seed{seed}", config) as run:
                    run.log_epoch(val_error=0.1, fisher_cond_mean=2.0 * size + seed, fisher_energy_sum=9.0)
        claims = fs.claims("runs/claims")
        print(claims[1])
        assert claims.frame.height == 13
        ```
    """
    source = settings_of(runs, task=task)
    name, smaller = source.metric(metric)
    not_diverged = ~pl.col("setting").is_in(diverged_settings(source))
    finished = source.where(pl.col("status") == "finished", not_diverged)
    grid, last = SettingGrid.of(finished, x=x, y=y), finished.last_epoch
    notes = list(source.notes)
    uneven = finished.frame.filter(pl.col("reached") < last)
    if len(uneven):
        notes.append(
            f"{count_text(len(uneven), 'finished run')} ended before epoch {last}; measures are compared "
            "at the end of each."
        )
    tests: list[tuple[int, str, Callable[[], Claim]]] = [
        (1, "Every (|B|, α) has its own (C̄_K, L_K)", lambda: claim_1_separability(grid)),
        (
            2,
            "C̄_K grows with |B|, L_K falls with |B|, both grow with α",
            lambda: position.claim_2_growth(grid),
        ),
        (
            3,
            "Relative positions are stable from the first epochs",
            lambda: position.claim_3_stability(grid, last),
        ),
        (4, "The lowest errors lie together", lambda: outcome.claim_4_region(grid, name, smaller)),
        (5, "At a given iteration C̄_K depends on |B|, L_K on α", lambda: position.claim_5_dependence(grid)),
        (
            6,
            "At very large α/|B| the Gram turns rank deficient",
            lambda: position.claim_6_rank_deficiency(source),
        ),
        (
            7,
            "Schedules travel across the beacons' curves; the order of stages changes L_K only",
            lambda: trajectory.claim_7_path_dependence(finished, grid),
        ),
        (8, TEXT_8, lambda: _transfer(grid, other, name, smaller)),
        (9, "The five best share similar α/|B|", lambda: outcome.claim_9_ratio(grid, name, smaller)),
        (10, "-MS limits the growth of L_K", lambda: trajectory.claim_10_restarts(finished, grid)),
        (11, "Error curves are less stable", lambda: trajectory.claim_11_error_variation(grid, name)),
        (
            12,
            "Most of L_K is gathered in the first half",
            lambda: trajectory.claim_12_early_energy(grid, last),
        ),
        (13, TEXT_13, lambda: claim_13_schedules(finished, name, smaller)),
    ]
    missing = _missing_measures(finished, x, y)
    results = [
        _test(number, text, test, missing if number not in ERROR_CLAIMS else "")
        for number, text, test in tests
    ]
    axes = "" if (x, y) == (COND, ENERGY) else f" C̄_K is {x}, L_K is {y}."
    return Claims(judge(results), f"{source.describe()}; metric {name}.{axes}", tuple(notes))


def _test(number: int, text: str, test: Callable[[], Claim], missing: str) -> Claim:
    if missing:
        return Claim(number, text, reason=missing)
    try:
        return test()
    except AnalysisError as error:
        return Claim(number, text, reason=str(error))


def _missing_measures(source: Settings, x: str, y: str) -> str:
    """Return why no measure can be tested; empty if C̄ and L are there."""
    if not len(source.frame):
        return "No run has finished."
    for name in (x, y):
        try:
            if len(at_epoch(source, name)):
                continue
        except AnalysisError:
            pass
        return f"The runs have no {name}: train them with a Monitor."
    return ""


def _transfer(grid: SettingGrid, other: RunsLike | None, metric: str, smaller: bool) -> Claim:
    if other is None:
        return Claim(8, TEXT_8, reason="Needs the same settings on a second task: claims(runs, other=…).")
    second = settings_of(other)
    second.metric(metric)
    finished = second.where(
        pl.col("status") == "finished", ~pl.col("setting").is_in(diverged_settings(second))
    )
    return outcome.claim_8_transfer(grid, SettingGrid.of(finished), metric, smaller)
