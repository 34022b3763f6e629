"""What `choose` says: the plan, each comparison, what was chosen and how sure that is, what to do next."""

import math
import shlex

import numpy as np

from fisherscope.analysis.data.run_measures import COND, ENERGY
from fisherscope.analysis.data.setting_grid import edge_note
from fisherscope.analysis.selection.halving_result import HalvingResult
from fisherscope.analysis.selection.result import RATES
from fisherscope.analysis.selection.successive_halving import ROUNDING, HalvingPlan, Round
from fisherscope.sweep import duration

AT_MOST = 12
"""Lines of a comparison."""
MORE_SEEDS = 2
SMALL = 0.15
"""Share of a grid's epochs below which halving lost more than finishing the best after one early look."""


def planned(task: str, budget: str, plan: HalvingPlan) -> str:
    """What will be trained, and why so."""
    first, *rest = plan.rungs
    rungs = "; ".join(f"the best {r.settings if r.settings > 1 else 'one'} to epoch {r.epoch}" for r in rest)
    whole = first.settings * plan.epochs
    caution = (
        "\nSo small a budget was better spent on one early look and finishing the best of it\n"
        "(fisherscope sweep --until, fisherscope select --run-next); at 20% this way lost least."
        if plan.allowed < SMALL * whole
        else ""
    )
    return (
        f"Choosing among {first.settings} settings of {task} within {budget} of {whole} epochs, "
        f"{_whole(plan)}, by successive halving:\n"
        f"  all to epoch {first.epoch}{'; ' + rungs if rungs else ''}. That takes {plan.cost}.\n"
        f"Every run has the schedule of {plan.epochs} epochs, its rate divided by ten at 50 % and 75 %.\n"
        "Settings are compared by the validation metric at equal epochs, not at equal time.\n"
        "C̄ and L are shown and decide nothing: on\n"
        f"recorded sweeps forecasts from them chose no better (docs/analysis.md, Choose).{caution}"
    )


def compared(made: HalvingResult, one: Round) -> str:
    """A comparison: who goes on, with what was measured."""
    lines = [f"Epoch {one.epoch}: {len(one.order)} settings compared, {one.kept} kept."]
    head = ("setting", _named(made.metric), "C̄", "L")
    rows = [_row(made, k, one.epoch) for k in one.order[: min(one.kept, AT_MOST)].tolist()]
    widths = [max(len(row[c]) for row in [head, *rows]) for c in range(len(head))]
    lines += ["  " + "  ".join(_put(row, widths)) for row in ([head, *rows] if rows else [])]
    dropped = [k for k in one.order[one.kept :].tolist() if np.isfinite(made.values[k, one.epoch])]
    if dropped:
        best = dropped[0]
        lines.append(
            f"  Dropped: {len(dropped)}, the best of them {made.candidates[best].name} "
            f"({_value(made, made.values[best, one.epoch])})."
        )
    lost = len(one.order) - one.kept - len(dropped)
    return "\n".join([*lines, f"  Diverged or failed: {lost}."] if lost else lines)


def told(made: HalvingResult) -> str:
    """What was chosen, what cannot be told from it, what it cost."""
    best = made.recommended
    if best is None:
        text = "Nothing can be recommended: what was to be finished diverged or failed. Try smaller rates."
        return f"{text}\n{_spent(made)}"
    value = _value(made, made.values[made.candidates.index(best), made.plan.epochs])
    sure = "one seed; how sure that is cannot be told"
    if made.interval is not None:
        low, high = (_value(made, v).removesuffix(" %") for v in made.interval)
        sure = f"80 %: {low}–{high}, one seed, {made.samples} validation samples"
    lines = [
        f"Use batch {best.batch_size}, rate {best.lr:.6g} ({best.name}): "
        f"measured {_named(made.metric)} {value} ({sure}).",
        _worsened(made),
        _rivals(made),
        _spent(made),
        *(edge_note(*edge) for edge in made.edges),
    ]
    return "\n".join(line for line in lines if line)


def following(made: HalvingResult, task: str, budget: str, seed: int, common: dict[str, object]) -> str:
    """The next step: beyond the edge of the grid, or other seeds of what could not be told apart.

    Args:
        made: Of the task, within the budget, with the seed.
        common: The options that `choose` and `sweep` take, `out` among them.
    """
    best = made.recommended
    if best is None:
        return ""
    if made.edges:
        beyond = [(axis == "learning rate", value) for axis, _, value in made.edges]
        sizes = {c.batch_size for c in made.candidates} | {int(value) for rate, value in beyond if not rate}
        rates = {c.lr for c in made.candidates} | {value for rate, value in beyond if rate}
        options = {"budget": budget, **_axes(sizes, rates), "seed": seed or None, **common}
        return f"Next, beyond the edge:\n  {_command('choose', task, options)}"
    near = [best, *(candidate for candidate, _ in made.rivals[:1])]
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


def _worsened(made: HalvingResult) -> str:
    if made.worsened is None:
        return ""
    epoch, value = made.worsened
    return (
        f"Do not rely on it: it was better at epoch {epoch} ({_value(made, value)}), where it was chosen "
        "over others. Try smaller rates, the --optimizer you train with, or a larger --budget, which "
        "compares later."
    )


def _rivals(made: HalvingResult) -> str:
    if made.samples is None:
        return f"Whether others are as good cannot be told: nothing says how noisy {_named(made.metric)} is."
    by_epoch = dict[int, list[str]]()
    for candidate, epoch in made.rivals:
        by_epoch.setdefault(epoch, []).append(candidate.name)
    if not by_epoch:
        return "Every other setting was worse where it was compared."
    parts = [f"{', '.join(names)} (compared at epoch {epoch})" for epoch, names in by_epoch.items()]
    text = f"Not distinguishable: {'; '.join(parts)}."
    if made.fastest is not None:
        text += f" {made.fastest[0].name} trains {made.fastest[1]:.1f} times faster."
    return text


def _spent(made: HalvingResult) -> str:
    whole = len(made.candidates) * made.plan.epochs
    return (
        f"Spent {made.spent} of {_whole(made.plan)} epochs allowed, {made.spent / whole:.0%} of the "
        f"grid's {whole}; {duration(float(made.seconds.sum()))} of training."
    )


def _row(made: HalvingResult, k: int, epoch: int) -> tuple[str, ...]:
    shown = [made.shown[name][k, epoch] for name in (COND, ENERGY)]
    measures = [f"{value:.4g}" if math.isfinite(value) else "–" for value in shown]
    return made.candidates[k].name, _value(made, made.values[k, epoch]), *measures


def _put(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]


def _named(metric: str) -> str:
    return metric.replace("val/", "validation ").replace("test/", "test ")


def _value(made: HalvingResult, value: float) -> str:
    return f"{100 * value:.2f} %" if made.metric.rpartition("/")[2] in RATES else f"{value:.4g}"


def _whole(plan: HalvingPlan) -> int:
    return math.floor(plan.allowed + ROUNDING)
