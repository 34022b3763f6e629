"""The numbers in the sentences of docs/study.md, from the same results as its tables.

A sentence is a template: its words are as on the page, `{}` stands for a number. `make study` puts the
numbers in, and stops where a sentence is not on the page as it stands here, or where what it says no longer
holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from experiments.study.candidates import CANDIDATES
from experiments.study.tables import FOUND_ON, known

Results = dict[str, Any]
WORDS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
RANK, LITERAL = "effective rank", "geometric mean of c"
MARGIN = 0.02
"""In the gain: what lies closer to the best is told apart by stability (experiments/PREREGISTERED.md)."""


def spelled(count: int) -> str:
    """Spell a small number."""
    return WORDS[count] if count < len(WORDS) else str(count)


def number(value: float, form: str = ".2f") -> str:
    """With the page's minus sign."""
    return format(value, form).replace("-", "−")


def verdicts(results: Results, claim: int) -> dict[str, str]:
    """By sweep."""
    rows = (r for r in results["claims"] if r["number"] == claim and r["verdict"] != "not testable")
    return {r["sweep"]: r["verdict"] for r in rows}


def count_of(results: Results, claim: int, verdict: str) -> str:
    """In words."""
    return spelled(list(verdicts(results, claim).values()).count(verdict))


def claim(results: Results, which: int, sweep: str) -> dict[str, Any]:
    """Return the row of a claim on a sweep."""
    row: dict[str, Any] = next(r for r in results["claims"] if (r["number"], r["sweep"]) == (which, sweep))
    return row


def values(results: Results, measure: str, key: str, confirming: bool = False) -> list[float]:
    """Return a candidate's values by sweep."""
    return [
        r[key]
        for r in results["candidates"]
        if r["measure"] == measure and known(r.get(key)) and not (confirming and r["sweep"] in FOUND_ON)
    ]


# What the sentences say -----------------------------------------------------------------------------------


def design(results: Results) -> list[str]:
    """Sweeps, and candidates beside the first."""
    return [spelled(len(results["sweeps"])), spelled(len(CANDIDATES) - 1)]


def falling(results: Results) -> list[str]:
    """Claim 2: supported with BatchNorm on so many sweeps; τ(C̄, |B|) on MNIST's MLPs."""
    normed = [v for name, v in verdicts(results, 2).items() if not name.endswith("-mlp")]
    assert set(normed) == {"supported"}, normed
    taus = [claim(results, 2, name)["estimate"] for name in ("mnist-mlp", "mnist1000-mlp")]
    return [spelled(len(normed)), *map(number, taus)]


def contradicted(which: int) -> Callable[[Results], list[str]]:
    """On how many of how many sweeps a claim is contradicted."""
    return lambda results: [count_of(results, which, "contradicted"), spelled(len(verdicts(results, which)))]


def up_and_down(results: Results) -> list[str]:
    """Claim 7: sweeps, the factor on the digits, octaves on MNIST's MLP."""
    assert claim(results, 7, "digits-resnet8")["verdict"] == "contradicted"
    assert claim(results, 7, "mnist-mlp")["verdict"] == "inconclusive"
    apart = claim(results, 7, "mnist-mlp")
    margin = re.search(r"margin ([\d.]+)", apart["figure"])
    assert margin is not None
    octaves = [number(apart[key], ".1f") for key in ("estimate", "low", "high")]
    return [
        *contradicted(7)(results), number(2 ** claim(results, 7, "digits-resnet8")["estimate"], ".1f"),
        *octaves, number(float(margin[1]), ".1f"),
    ]  # fmt: skip


def corners(results: Results) -> list[str]:
    """Claim 4 on MNIST's ResNet-8."""
    assert "supported" not in verdicts(results, 4).values()
    assert [name for name, v in verdicts(results, 4).items() if v == "contradicted"] == ["mnist-resnet8"]
    return [number(claim(results, 4, "mnist-resnet8")["estimate"])]


def rough(results: Results) -> list[str]:
    """Claim 11 where there are three seeds; claim 6."""
    enough = {r["sweep"] for r in results["sweeps"] if r["seeds"] >= 3}
    outcomes = [v for name, v in verdicts(results, 11).items() if name in enough]
    return [
        spelled(outcomes.count("supported")),
        spelled(len(outcomes)),
        count_of(results, 6, "supported"),
        count_of(results, 6, "contradicted").replace("no", "none"),
    ]


def lengths(results: Results) -> list[str]:
    """Smallest τ of c of the cosines; largest spread of lengths on ResNet-8."""
    taus = [r["tau_log_cond_cosines"] for r in results["fitted"]]
    widest = max(max(r["log_lengths"]) for r in results["fitted"] if r["task"] == "digits/resnet8")
    assert min(taus) > 0.99, taus
    return ["1", f"{10**widest:.0f}"]


def gains(results: Results) -> list[str]:
    """Sweeps on which (C̄, L) help beyond doubt, and harm: over the error, over the training loss."""
    counts = []
    for without in ("metric+grid", "train_loss+grid"):
        rows = [r for r in results["backtest"]["gains"] if r["without"] == without]
        above = [r["sweep"] for r in rows if known(r["low"]) and r["low"] > 0]
        below = [r["sweep"] for r in rows if known(r["high"]) and r["high"] < 0]
        counts.append((above, below, rows))
    (above, below, rows), (more, less, _) = counts
    assert len(above) * 2 <= len(rows), above  # or the section's first words would be wrong
    names = f" ({', '.join(more)})" if more else ""
    less_told = spelled(len(less)) if less else "none"
    return [
        spelled(len(above)), spelled(len(rows)), spelled(len(below)),
        (spelled(len(more)) if more else "none") + names, less_told,
    ]  # fmt: skip


def halving(results: Results) -> list[str]:
    """Share of plays within the margin, of the way of least regret at 20 %."""
    best = min((r for r in results["backtest"]["summary"] if r["budget"] == 0.2), key=lambda r: r["regret"])
    assert best["rival"] == "successive halving", best
    return [f"{best['within']:.0%}".replace("%", " %")]


def steady(results: Results) -> list[str]:
    """Give the effective rank's τ with |B|, and early against final ranks."""
    spans = (values(results, RANK, key) for key in ("tau_batch", "stability"))
    return [number(pick(span)) for span in spans for pick in (min, max)]


def chosen(results: Results) -> list[str]:
    """Apply the rule fixed beforehand: who beats the literal c by the margin, what breaks the tie."""
    mean = {
        m: float(np.mean(values(results, m, "gain", confirming=True)))
        for m in CANDIDATES
        if _enough(results, m)
    }
    better = sorted((m for m in mean if mean[m] > mean[LITERAL] + MARGIN), key=lambda m: -mean[m])
    near = [m for m in better if mean[m] > mean[better[0]] - MARGIN]
    early = {m: float(np.mean(values(results, m, "stability", confirming=True))) for m in near}
    assert max(early, key=early.__getitem__) == RANK, early
    assert max(mean.values()) < MARGIN, mean  # the paragraph ends on it
    others = sorted(value for m, value in early.items() if m != RANK)
    confirming = len(results["sweeps"]) - len(FOUND_ON)
    listed = [f"{m} ({number(mean[m], '.3f')})" for m in near]
    return [
        spelled(confirming), number(mean[LITERAL], ".3f"), spelled(len(better)), spelled(len(near)),
        "; ".join(listed), number(early[RANK]), number(others[0]), number(others[-1]),
        number(max(mean.values()), "+.3f"),
    ]  # fmt: skip


def _enough(results: Results, measure: str) -> bool:
    """Whether a measure has a gain on each of the confirming sweeps."""
    return len(values(results, measure, "gain", confirming=True)) == len(results["sweeps"]) - len(FOUND_ON)


def interval(results: Results) -> list[str]:
    """Spread of C̄ from one step in fifty in long and short runs."""
    numbers = []
    for steps in (max, min):
        wanted = steps(r["steps"] for r in results["interval"])
        spread = np.mean([r["arithmetic_spread"] for r in results["interval"] if r["steps"] == wanted])
        numbers += [f"{100 * spread:.0f} %", f"{wanted:,}".replace(",", " ")]
    return numbers


SENTENCES: tuple[tuple[str, Callable[[Results], Sequence[str]]], ...] = (
    (
        "claims are tested on {} sweeps that a desktop processor can train, its measure is compared "
        "with {} others,",
        design,
    ),
    (
        "On the {} sweeps with BatchNorm C̄ grows with |B| and with α and L falls with |B|. On both "
        "MNIST MLPs C̄ *falls* with |B| (τ = {} and {}):",
        falling,
    ),
    (
        "**Claim 5 is contradicted on {} of {}**",
        contradicted(5),
    ),
    (
        "**Claim 12 is contradicted on {} of {} sweeps**",
        contradicted(12),
    ),
    (
        "**Claim 7 is contradicted** on {} of the {} sweeps with such schedules: growing and falling "
        "sizes end at different C̄ (a factor of {}). On MNIST's MLP they end {} octaves apart ({} to "
        "{}, margin {}),",
        up_and_down,
    ),
    (
        "falls with log L − log C̄ (τ = {}) while the paper",
        corners,
    ),
    (
        "**Claim 11 holds on {} of the {} sweeps that have three seeds or more**: error curves are "
        "rougher than those of C̄ and L. **Claim 6** is supported on {} sweeps and contradicted on "
        "{}.",
        rough,
    ),
    (
        "at every rate on every network (τ = {} throughout), as the paper says. ResNet-8's lengths "
        "spread by a factor of {} at most,",
        lengths,
    ),
    (
        "the gain has its interval above zero on {} of {}, below zero on {}. Over the early training "
        "*loss* in place of the error it is above zero on {} and below on {}.",
        gains,
    ),
    (
        "what it picks lies within the margin in {} of the plays.",
        halving,
    ),
    (
        "it grows with |B| on every sweep (τ from {} to {}) and falls with α, with and without "
        "BatchNorm, and its ranks at epoch 2 or 3 are those of the end (ρ from {} to {}).",
        steady,
    ),
    (
        "By the gain on the {} confirming sweeps the geometric mean of the literal c ({}), which was "
        "the lead, is worse by more than 0.02 than {} others. The best {} of these lie within 0.02 of"
        " each other: {}. The stability of early ranks breaks the tie, {} for the effective rank "
        "against {} to {}. But the largest gain is {}: knowing where a setting stands is not knowing",
        chosen,
    ),
    (
        "C̄ comes out unbiased, with a spread of {} in a run of {} steps and of {} in one of {}.",
        interval,
    ),
)


def renewed(text: str, results: Results) -> str:
    """Put the numbers of the results into the sentences of the page.

    Raises:
        ValueError: A sentence is not there, or stands twice.
    """
    for template, numbers_of in SENTENCES:
        pattern = re.escape(template).replace(r"\ ", r"\s+").replace(r"\{\}", "(.+?)")
        pattern += r"(?=\s)" if template.endswith(".") else ""  # or a number would end at its own point
        matches = list(re.finditer(pattern, text, flags=re.S))
        if len(matches) != 1:
            raise ValueError(
                f"writing docs/study.md: it has {len(matches)} times, expected once: {template!r}; "
                "update experiments/study/sentences.py with the sentence"
            )
        match, numbers = matches[0], numbers_of(results)
        for group in range(len(numbers), 0, -1):
            begin, end = match.span(group)
            text = text[:begin] + numbers[group - 1] + text[end:]
    return text


def renew(page: Path, results: Results) -> None:
    """`renewed`, in place."""
    page.write_text(renewed(page.read_text(), results))
