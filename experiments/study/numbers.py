"""The study: every number and figure of docs/study.md from the committed results.

`python -m experiments.study` writes experiments/results/study.json, the blocks of docs/study.md and README.md
between `<!-- begin: NAME -->` and `<!-- end -->`, and the pictures in docs/images/study.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from experiments.study.candidates import compared
from experiments.study.intervals import interval_rows
from experiments.study.pictures import draw
from experiments.study.sentences import renew
from experiments.study.sweeps import RESULTS, SWEEPS, fixed, load, plain, stored, studied
from experiments.study.tables import BLOCKS, headline, rewrite
from experiments.study.transfer import transfers

from fisherscope import analysis
from fisherscope.analysis.data.settings import settings_of
from fisherscope.runs.reader import Runs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
Rows = list[dict[str, Any]]


def main() -> None:
    """Everything, in about five minutes."""
    sweeps = {name: load(name) for name in SWEEPS if stored(name).exists()}
    results: dict[str, Any] = {
        "sweeps": [described(name, runs) for name, runs in sweeps.items()],
        "claims": [row for name, runs in sweeps.items() for row in claims(name, runs, sweeps)],
        "candidates": [{"sweep": n, **row} for n, runs in sweeps.items() for row in compared(fixed(runs))],
        "interval": list(interval_rows(load("digits-every-step")))
        if stored("digits-every-step").exists()
        else [],
        "semantics": semantics(),
        "fitted": json.loads((RESULTS / "fitted.json").read_text())["trends"],
        "transfer": list(transfers({name: fixed(runs) for name, runs in sweeps.items()})),
    }
    tested = analysis.backtest({name: fixed(runs) for name, runs in sweeps.items()})
    results["backtest"] = {
        name: getattr(tested, name).to_dicts() for name in ("summary", "gains", "predictions", "sweeps")
    }
    (RESULTS / "study.json").write_text(json.dumps(plain(results), indent=1, allow_nan=False) + "\n")
    rewrite(DOCS / "study.md", {name: block(results) for name, block in BLOCKS.items()})
    renew(DOCS / "study.md", results)
    rewrite(ROOT / "README.md", {"headline": headline(results)})
    draw(results, {name: studied(runs) for name, runs in sweeps.items()}, DOCS / "images" / "study")


def described(name: str, runs: Runs) -> dict[str, Any]:
    """Describe a sweep, and the setting that validation chooses with its test error, shown once."""
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
    columns = ("trace_ratio", "log_cond_ratio", "log_eigenvalue_correlation", "norm_correlation")
    return (
        rows.with_columns(logs)
        .group_by("epoch", maintain_order=True)
        .agg(
            *(pl.col(c).mean() for c in columns),
            pl.col("log_cond_ratio").std().alias("log_cond_spread"),
            pl.len(),
        )
        .to_dicts()
    )
