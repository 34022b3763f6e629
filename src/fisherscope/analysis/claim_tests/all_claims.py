"""`claims`: the paper's twelve claims on any sweep."""

from collections.abc import Callable

import polars as pl

from fisherscope.analysis.claim_tests import outcome as outcomes
from fisherscope.analysis.claim_tests import position as positions
from fisherscope.analysis.claim_tests import trajectory as travel
from fisherscope.analysis.claim_tests.separability import own_place
from fisherscope.analysis.claim_tests.verdicts import Claim, Claims, judged
from fisherscope.analysis.data.run_measures import COND, ENERGY, at_epoch
from fisherscope.analysis.data.setting_grid import SettingGrid, diverged
from fisherscope.analysis.data.settings import RunsLike, Settings, counted, settings_of
from fisherscope.analysis.errors import AnalysisError

TEXT_8 = "The best region depends little on the number of classes: a setting transfers"

WITHOUT_MEASURES = (8, 9)
"""Claims about errors alone."""


def claims(
    runs: RunsLike, *, other: RunsLike | None = None, metric: str | None = None, task: str | None = None
) -> Claims:
    """Every claim of the paper as a test on these runs, with verdict, figure, interval, n and corrected p.

    Finished runs count; settings of which a seed diverged in claim 6 only. Tests: docs/analysis.md.

    Args:
        runs: From `load_runs`, or a directory.
        other: Runs of the same settings on a second task, for claim 8.
        metric: Column of the epochs; by default the validation metric.
        task: Which, where there are several.

    Raises:
        AnalysisError: No run, several tasks, or no such metric.

    Cost: seconds; 2000 permutations and 1000 bootstraps a test.
    """
    source = settings_of(runs, task=task)
    name, smaller = source.metric(metric)
    lost = ~pl.col("setting").is_in(diverged(source))
    ended = source.where(pl.col("status") == "finished", lost)
    grid, last = SettingGrid.of(ended), ended.last_epoch
    notes = list(source.notes)
    uneven = ended.frame.filter(pl.col("reached") < last)
    if len(uneven):
        notes.append(
            f"{counted(len(uneven), 'finished run')} ended before epoch {last}; measures are compared at "
            "each end."
        )
    tests: list[tuple[int, str, Callable[[], Claim]]] = [
        (1, "Every (|B|, α) has its own (C̄_K, L_K)", lambda: own_place(grid)),
        (2, "C̄_K grows with |B|, L_K falls with |B|, both grow with α", lambda: positions.growth(grid)),
        (3, "Relative positions are stable from the first epochs", lambda: positions.stability(grid, last)),
        (4, "The lowest errors lie together", lambda: outcomes.region(grid, name, smaller)),
        (5, "Against iterations C̄_K goes by |B|, L_K by α", lambda: positions.clustering(grid)),
        (6, "At very large α/|B| the Gram turns rank deficient", lambda: positions.deficiency(source)),
        (7, "The order of stages matters to L_K alone", lambda: travel.path_matters_to_energy(ended, grid)),
        (8, TEXT_8, lambda: _transfer(grid, other, name, smaller)),
        (9, "The five best share similar α/|B|", lambda: outcomes.ratio(grid, name, smaller)),
        (10, "-MS limits the growth of L_K", lambda: travel.restarts_limit_energy(ended, grid)),
        (11, "Error curves are less stable", lambda: travel.errors_are_rougher(grid, name)),
        (12, "The first half gathers L_K", lambda: travel.first_half_gathers_energy(grid, last)),
    ]
    lacking = _lacking(ended)
    found = [
        _tested(number, text, test, lacking if number not in WITHOUT_MEASURES else "")
        for number, text, test in tests
    ]
    return Claims(judged(found), f"{source.describe()}; metric {name}.", tuple(notes))


def _tested(number: int, text: str, test: Callable[[], Claim], lacking: str) -> Claim:
    if lacking:
        return Claim(number, text, reason=lacking)
    try:
        return test()
    except AnalysisError as error:
        return Claim(number, text, reason=str(error))


def _lacking(source: Settings) -> str:
    """Why no measure can be looked at; empty where C̄ and L are there."""
    if not len(source.frame):
        return "No run has finished."
    for name in (COND, ENERGY):
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
    ended = second.where(pl.col("status") == "finished", ~pl.col("setting").is_in(diverged(second)))
    return outcomes.transfer(grid, SettingGrid.of(ended), metric, smaller)
