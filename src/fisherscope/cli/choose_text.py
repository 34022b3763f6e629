"""Text of `fisherscope choose`: the plan, each comparison, the commands to run next."""

import math
import shlex

import numpy as np

from fisherscope.analysis.data.compared_metric import metric_text
from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.selection.halving_result import HalvingResult
from fisherscope.analysis.selection.halving_text import dead_candidates_text
from fisherscope.analysis.selection.successive_halving import ROUNDING, HalvingPlan, Round
from fisherscope.plain_text import aligned_table

AT_MOST = 12
"""Lines of a comparison."""
MORE_SEEDS = 2
SMALL = 0.15
"""Share of a grid's epochs below which halving lost more than finishing the best after one early look."""


def plan_text(task: str, budget: str, plan: HalvingPlan) -> str:
    """Say what will be trained, and how settings are compared."""
    first, *rest = plan.rungs
    rungs = "; ".join(f"the best {r.settings if r.settings > 1 else 'one'} to epoch {r.epoch}" for r in rest)
    whole = first.settings * plan.epochs
    caution = (
        "\nSmall budget: in back-tests below 15%, finishing the best after one early look lost less\n"
        "(fisherscope sweep --until, fisherscope select --run-next); at 20% halving lost least."
        if plan.allowed < SMALL * whole
        else ""
    )
    return (
        f"Choosing among {first.settings} settings of {task} within {budget} of {whole} epochs, "
        f"{math.floor(plan.allowed + ROUNDING)}, by successive halving:\n"
        f"  all to epoch {first.epoch}{'; ' + rungs if rungs else ''}. Total: {plan.cost} epochs.\n"
        f"Every run has the schedule of {plan.epochs} epochs, its learning rate divided by ten at 50 % and "
        "75 %.\n"
        "Settings are ranked by the validation metric at equal epochs, not at equal time.\n"
        "C̄ and L are shown for information only: on recorded sweeps, forecasts from\n"
        f"them chose no better (docs/analysis.md, Choose).{caution}"
    )


def comparison_text(result: HalvingResult, comparison: Round) -> str:
    """List the settings that survive a comparison, with what was measured."""
    epoch, survivors = comparison.epoch, comparison.survivors
    lines = [f"Epoch {epoch}: {len(comparison.order)} settings compared, {survivors} kept."]
    head = ("setting", metric_text(result.metric), "C̄", "L")
    rows = [_row(result, k, epoch) for k in comparison.order[: min(survivors, AT_MOST)].tolist()]
    lines += [f"  {line}" for line in aligned_table(head, rows, align="lr")] if rows else []
    dropped = [k for k in comparison.order[survivors:].tolist() if np.isfinite(result.values[k, epoch])]
    if dropped:
        best = dropped[0]
        lines.append(
            f"  Dropped: {len(dropped)}, the best of them {result.candidates[best].name} "
            f"({result.text(result.values[best, epoch])})."
        )
        if dead := dead_candidates_text([result.candidates[k] for k in dropped], result.dead):
            lines.append(f"  {dead}")
    lost = len(comparison.order) - survivors - len(dropped)
    return "\n".join([*lines, f"  Diverged or failed: {lost}."] if lost else lines)


def next_commands(result: HalvingResult, task: str, budget: str, seed: int, common: dict[str, object]) -> str:
    """Format the next command: beyond the edge of the grid, or other seeds of tied settings.

    Args:
        result: What was chosen.
        task: Name of the task.
        budget: Budget as it was given.
        seed: Seed of the runs.
        common: The options that `choose` and `sweep` take, `out` among them.
    """
    best = result.recommended
    if best is None:
        return ""
    if result.edges:
        beyond = [(axis == "learning rate", value) for axis, _, value in result.edges]
        sizes = {c.batch_size for c in result.candidates} | {int(value) for rate, value in beyond if not rate}
        rates = {c.lr for c in result.candidates} | {value for rate, value in beyond if rate}
        options = {"budget": budget, **_axes(sizes, rates), "seed": seed or None, **common}
        return f"Next, beyond the edge:\n  {_command('choose', task, options)}"
    near = [best, *(candidate for candidate, _ in result.rivals[:1])]
    seeds = ",".join(str(seed + k) for k in range(1, MORE_SEEDS + 1))
    options = {**_axes({c.batch_size for c in near}, {c.lr for c in near}), "seeds": seeds, **common}
    return (
        f"Next, other seeds of {' and '.join(c.name for c in near)}:\n"
        f"  {_command('sweep', task, options)}\n  fisherscope select {shlex.quote(str(common['out']))}"
    )


def _axes(sizes: set[int], rates: set[float]) -> dict[str, object]:
    return {
        "batch-sizes": ",".join(map(str, sorted(sizes))),
        "lrs": ",".join(f"{rate:.6g}" for rate in sorted(rates)),
    }


def _command(verb: str, task: str, options: dict[str, object]) -> str:
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None]
    return f"fisherscope {verb} {task} {' '.join(words)}"


def _row(result: HalvingResult, k: int, epoch: int) -> tuple[str, ...]:
    """Return a setting's name, metric, C̄ and L at an epoch."""
    values = [result.shown[name][k, epoch] for name in (COND, ENERGY)]
    measures = [f"{value:.4g}" if math.isfinite(value) else "–" for value in values]
    return result.candidates[k].name, result.text(result.values[k, epoch]), *measures
