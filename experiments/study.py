"""The study: every number and figure of docs/study.md from the committed results.

`python -m experiments.study` writes experiments/results/study.json and the blocks of
docs/study.md between `<!-- begin: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from experiments.candidates import CANDIDATES, compared
from experiments.intervals import interval_rows

import fisherscope as fs
from fisherscope import analysis
from fisherscope.analysis.settings import settings_of
from fisherscope.runs.reading import Runs

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "study.md"
SWEEPS = (
    "digits-resnet8",
    "digits-mlp",
    "digits-densenet8",
    "digits5-resnet8",
    "digits2-resnet8",
    "mnist-mlp",
    "mnist1000-mlp",
    "mnist-resnet8",
)
FOUND_ON = ("digits-resnet8", "digits-mlp")
"""Where the lead of DESIGN was found: shown, and not counted in the choice of the measure."""
MEANS = ("arithmetic", "geometric")
MARKS = {"supported": "yes", "contradicted": "NO", "inconclusive": "·", "not testable": "–"}

Rows = list[dict[str, Any]]


def main() -> None:
    """Everything, in about five minutes."""
    sweeps = {name: load(name) for name in SWEEPS if stored(name).exists()}
    found: dict[str, Any] = {
        "sweeps": [described(name, runs) for name, runs in sweeps.items()],
        "claims": [row for name, runs in sweeps.items() for row in claims(name, runs, sweeps)],
        "candidates": [{"sweep": n, **row} for n, runs in sweeps.items() for row in compared(fixed(runs))],
        "interval": list(interval_rows(load("digits-every-step")))
        if stored("digits-every-step").exists()
        else [],
        "semantics": semantics(),
    }
    tested = analysis.backtest({name: fixed(runs) for name, runs in sweeps.items()})
    found["backtest"] = {
        name: getattr(tested, name).to_dicts() for name in ("summary", "gains", "predictions", "sweeps")
    }
    (RESULTS / "study.json").write_text(json.dumps(plain(found), indent=1, allow_nan=False) + "\n")
    rewrite(PAGE, {name: block(found) for name, block in BLOCKS.items()})


def stored(name: str) -> Path:
    """A sweep's compact file."""
    return RESULTS / "sweeps" / f"{name}.zip"


def load(name: str) -> Runs:
    """A sweep's runs."""
    return fs.load_runs(stored(name))


def fixed(runs: Runs) -> Runs:
    """Ended runs of constant batch size, of the seeds with which every setting has ended."""
    frame = settings_of(runs).frame
    ended = frame.filter(pl.col("fixed"), pl.col("status").is_in(["finished", "diverged"]))
    settings = frame.filter(pl.col("fixed"))["setting"].n_unique()
    whole = [s for (s,), part in ended.group_by("seed") if part["setting"].n_unique() == settings]
    chosen = ended.filter(pl.col("seed").is_in(whole))["run_id"].to_list()
    return runs.filter(pl.col("run_id").is_in(chosen))


def studied(runs: Runs) -> Runs:
    """`fixed`, and the schedules that have ended."""
    frame = settings_of(runs).frame
    schedules = frame.filter(~pl.col("fixed"), pl.col("status") == "finished")["run_id"].to_list()
    chosen = fixed(runs).runs["run_id"].to_list() + schedules
    return runs.filter(pl.col("run_id").is_in(chosen))


def described(name: str, runs: Runs) -> dict[str, Any]:
    """What there is of a sweep, and the setting that validation chooses, with its test error, shown once."""
    source = settings_of(fixed(runs))
    picked = analysis.select(source.runs)
    chosen = source.frame.filter(pl.col("setting") == picked.recommended)["run_id"].to_list()
    last = source.epochs.filter(pl.col("run_id").is_in(chosen)).sort("epoch").group_by("run_id").last()
    test = 100 * last["test/error"].to_numpy()
    counts = Counter(source.frame["status"])
    return {
        "sweep": name,
        "settings": source.frame["setting"].n_unique(),
        "seeds": source.frame["seed"].n_unique(),
        "finished": counts["finished"],
        "diverged": counts["diverged"],
        "recommended": picked.recommended,
        "test_error": float(test.mean()),
        "test_std": float(test.std(ddof=1)) if len(test) > 1 else math.nan,
        "indistinguishable": len(picked.indistinguishable),
    }


def claims(name: str, runs: Runs, sweeps: dict[str, Runs]) -> Iterator[dict[str, Any]]:
    """Verdict and figure of every claim on a sweep."""
    partner = {"digits-resnet8": "digits5-resnet8", "digits5-resnet8": "digits2-resnet8"}.get(name)
    other = fixed(sweeps[partner]) if partner in sweeps else None
    for row in analysis.claims(studied(runs), other=other).frame.iter_rows(named=True):
        yield {"sweep": name, **row}


def semantics() -> Rows:
    """Means over seeds and batches of the comparison of the two kinds of columns, by epoch."""
    rows = pl.DataFrame(json.loads((RESULTS / "semantics.json").read_text())["rows"])
    logs = (pl.col("cond_path").log() - pl.col("cond_per_loss").log()).alias("log_cond_ratio")
    kept = ("trace_ratio", "log_cond_ratio", "log_eigenvalue_correlation", "norm_correlation")
    return (
        rows.with_columns(logs)
        .group_by("epoch", maintain_order=True)
        .agg(
            *(pl.col(c).mean() for c in kept),
            pl.col("log_cond_ratio").std().alias("log_cond_spread"),
            pl.len(),
        )
        .to_dicts()
    )


# Tables of the page -------------------------------------------------------------------------------


def sweep_table(found: dict[str, Any]) -> str:
    """What was trained."""
    head = [
        "sweep",
        "settings",
        "seeds",
        "finished",
        "diverged",
        "chosen by validation",
        "its test error",
        "not to be told apart",
    ]
    rows = [
        [
            r["sweep"], r["settings"], r["seeds"], r["finished"], r["diverged"], r["recommended"],
            f"{r['test_error']:.2f}" + (f" ± {r['test_std']:.2f}" if known(r["test_std"]) else "") + " %",
            r["indistinguishable"],
        ]
        for r in found["sweeps"]
    ]  # fmt: skip
    return markdown(head, rows)


def claim_table(found: dict[str, Any]) -> str:
    """A row a claim, a column a sweep."""
    names = [r["sweep"] for r in found["sweeps"]]
    verdicts = {(r["number"], r["sweep"]): MARKS[r["verdict"]] for r in found["claims"]}
    texts = {r["number"]: r["claim"] for r in found["claims"]}
    rows = []
    for number, text in texts.items():
        marks = [verdicts.get((number, name), "–") for name in names]
        tally = f"{marks.count('yes')} / {marks.count('NO')} of {sum(m != '–' for m in marks)}"
        rows.append([f"{number}. {text}", *marks, tally])
    return markdown(["claim", *names, "yes / no"], rows)


def figure_table(found: dict[str, Any]) -> str:
    """The deciding figure of each claim on each sweep."""
    rows = [
        [
            r["number"],
            r["sweep"],
            r["verdict"],
            r["figure"] or r["reason"],
            interval(r),
            r["n"] or "",
            p_value(r["p_corrected"]),
        ]
        for r in sorted(found["claims"], key=lambda r: r["number"])
        if r["verdict"] != "not testable"
    ]
    return markdown(
        ["claim", "sweep", "verdict", "its weakest figure", "estimate (95 %)", "n", "p (Holm)"], rows
    )


def candidate_table(found: dict[str, Any], key: str, form: str = "{:+.2f}") -> str:
    """A row a measure, a column a sweep; the mean of the confirming ones last."""
    names = [r["sweep"] for r in found["sweeps"]]
    values = {(r["measure"], r["sweep"]): r.get(key) for r in found["candidates"]}
    rows = []
    for measure in CANDIDATES:
        cells = [values.get((measure, name)) for name in names]
        confirming = [c for c, n in zip(cells, names, strict=True) if n not in FOUND_ON and known(c)]
        mean = form.format(np.mean(confirming)) if confirming else "–"
        rows.append([measure, *(form.format(c) if known(c) else "–" for c in cells), mean])
    return markdown(["measure", *names, "mean of the confirming"], rows)


def gain_table(found: dict[str, Any]) -> str:
    """What (C̄, L) add to the forecast, by sweep."""
    rows = [
        [
            r["sweep"],
            r["without"],
            f"{r['gain']:+.3f}" if known(r["gain"]) else "–",
            span(r["low"], r["high"]),
        ]
        for r in found["backtest"]["gains"]
    ]
    return markdown(["sweep", "(C̄, L) added to", "gain in ρ", "95 %"], rows)


def regret_table(found: dict[str, Any]) -> str:
    """Regret of every way of choosing, by budget."""
    rows = [
        [
            r["rival"],
            f"{r['budget']:.0%}",
            f"{100 * r['regret']:.2f}",
            f"{r['within']:.0%}",
            f"{r['epochs']:.0%}",
        ]
        for r in found["backtest"]["summary"]
        if known(r["regret"])
    ]
    return markdown(
        ["way of choosing", "budget", "mean regret (points)", "within the margin", "epochs spent"], rows
    )


def interval_table(found: dict[str, Any]) -> str:
    """How far measuring one step in fifty is off."""
    rows = [
        [
            r["setting"], r["steps"], r["measured"],
            *(f"{r[f'{mean}_bias']:+.2f} ± {r[f'{mean}_spread']:.2f}" for mean in MEANS),
        ]
        for r in found["interval"]
    ]  # fmt: skip
    return markdown(
        ["setting", "steps", "measured at 1 in 50", "log C̄, arithmetic", "log C̄, geometric"], rows
    )


def semantics_table(found: dict[str, Any]) -> str:
    """Path against per-loss columns."""
    rows = [
        [
            r["epoch"], f"{r['trace_ratio']:.2f}", f"{math.exp(r['log_cond_ratio']):.2f}",
            f"{r['log_cond_spread']:.2f}", f"{r['log_eigenvalue_correlation']:.3f}",
            f"{r['norm_correlation']:.3f}",
        ]
        for r in found["semantics"]
    ]  # fmt: skip
    head = [
        "after epochs",
        "trace, path / per-loss",
        "c, path / per-loss (geometric mean)",
        "spread of log c",
        "correlation of log eigenvalues",
        "of log ‖g_i‖²",
    ]
    return markdown(head, rows)


BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "sweeps": sweep_table,
    "claims": claim_table,
    "figures of claims": figure_table,
    "gain": lambda found: candidate_table(found, "gain"),
    "stability": lambda found: candidate_table(found, "stability", "{:.2f}"),
    "beyond": lambda found: candidate_table(found, "stability_beyond_grid", "{:.2f}"),
    "tau batch": lambda found: candidate_table(found, "tau_batch"),
    "tau lr": lambda found: candidate_table(found, "tau_lr"),
    "gains": gain_table,
    "regret": regret_table,
    "interval": interval_table,
    "semantics": semantics_table,
}


def rewrite(page: Path, blocks: dict[str, str]) -> None:
    """Put the blocks where the page marks them."""
    text = page.read_text()
    for name, block in blocks.items():
        pattern = rf"(<!-- begin: {re.escape(name)} -->\n).*?(\n?<!-- end -->)"
        text = re.sub(
            pattern, lambda match, block=block: f"{match[1]}\n{block}\n{match[2]}", text, flags=re.S
        )
    page.write_text(text)


def markdown(head: list[str], rows: list[list[Any]]) -> str:
    """A table."""
    whole = [head, ["---"] * len(head), *rows]
    lines = ["| " + " | ".join(str(cell).replace("|", r"\|") for cell in row) + " |" for row in whole]
    return "\n".join(lines)


def interval(row: dict[str, Any]) -> str:
    """Estimate with its interval."""
    if not known(row["estimate"]):
        return ""
    return f"{row['estimate']:.2f} {span(row['low'], row['high'])}".strip()


def span(low: float | None, high: float | None) -> str:
    """An interval, empty where there is none."""
    return f"({low:.2f} to {high:.2f})" if known(low) and known(high) else ""


def p_value(p: float | None) -> str:
    """To two digits."""
    return f"{p:.2g}" if known(p) else ""


def known(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def plain(value: Any) -> Any:
    """As JSON has it: NaN is null."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main()
