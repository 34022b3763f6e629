"""The comparison of dynamic sampling, by the design in experiments/PREREGISTERED-dynamic.md, in one command.

    python -m experiments.dynamic digits/mlp --out runs/dynamic

Trains what is missing (started again it goes on), then writes experiments/results/dynamic-TASK.json and
docs/images/dynamic-TASK.png. With --only-read it trains nothing and reports what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import polars as pl
from experiments.dynamic.designs import DESIGNS, Design
from experiments.dynamic.forecasts import arrivals, predictions_at_the_start, predictions_by_the_policy
from experiments.dynamic.judge import judged
from experiments.dynamic.tables import Arm, Rows, choice, missing, summary, table_of, verdicts

from fisherscope.analysis import beacons_of
from fisherscope.policy import Beacons, read_beacons
from fisherscope.runs import Runs, load_runs
from fisherscope.sweep import run_sweep, seconds_a_step

RESULTS = Path(__file__).parents[1] / "results"
NAMES = {"beacon": "BeaconPolicy"}
IMAGES = Path(__file__).parents[2] / "docs" / "images"


def main() -> None:
    """Train, choose, confirm, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=DESIGNS)
    parser.add_argument("--out", type=Path, default=Path("runs/dynamic"))
    parser.add_argument("--only-read", action="store_true")
    parser.add_argument("--without-beacons", action="store_true", help="leave BeaconPolicy's runs for later")
    parser.add_argument("--data", type=Path, default=None, help="where the data files lie")
    args = parser.parse_args()
    study = Study(args.task, args.out / args.task.replace("/", "-"), args.data)
    if not args.only_read:
        study.train(with_beacons=not args.without_beacons)
    study.write()


class Study:
    """One task's comparison: its design, its runs, its cost model and its beacons."""

    def __init__(self, task: str, root: Path, data: Path | None) -> None:
        self.task, self.root, self.data = task, root, data
        self.design: Design = DESIGNS[task]

    def train(self, *, with_beacons: bool) -> None:
        """Train what is missing: selection, confirmation seed by seed, BeaconPolicy last if chosen."""
        design = self.design
        if design.fixed_runs is None:
            self._sweep(batch_sizes=design.sizes, lrs=design.fixed_rates, seeds=design.seeds)
        if design.chosen:
            self._sweep(policies=design.names, lrs=design.rates, seeds=design.seeds)
        settings = [(arm["policy"], arm["lr"]) for arm in self._arms()]
        beacon = f"beacon:{self._beacon_file()}"
        if not design.chosen:
            settings += [(name, design.rates[0]) for name in design.pairs]
            settings[1:1] = [(beacon, design.rates[0])] if with_beacons else []
        self._confirm(settings)
        if with_beacons and design.chosen:
            self._sweep(policies=[beacon], lrs=design.rates, seeds=design.seeds)
            self._confirm([(beacon, arm["lr"]) for arm in self._arms(beacon=True)])

    def write(self) -> None:
        """Write the result file and the picture from the runs that are there."""
        runs, cost, design = self.runs(), self.cost(), self.design
        table = table_of(runs, cost, design)
        chosen, reference = choice(table, design)
        beacons = self.beacons()
        written = {
            "what": "dynamic sampling against fixed sizes; design in experiments/PREREGISTERED-dynamic.md",
            "command": f"python -m experiments.dynamic {self.task}",
            "design": design.as_json(),
            "environment": environment(runs),
            "cost_model": cost,
            "choice": {"reference": reference, "families": chosen},
            "selection": summary(table, seeds=design.seeds),
            "confirmation": judged(verdicts(table, design, chosen, reference), cost),
            "pairs": self._pairs(table),
            "prediction": predictions_at_the_start(beacons, table),
            "prediction_of_beacon_runs": predictions_by_the_policy(runs, table),
            "arrival": arrivals(table, beacons, design),
            "missing": missing(table, design, [*chosen, reference]),
        }
        target = RESULTS / f"dynamic-{self.task.replace('/', '-')}.json"
        target.write_text(_lines(_rounded(written)), encoding="utf-8")
        picture(written, self.task)
        sys.stdout.write(f"{target}\n")

    def _pairs(self, table: pl.DataFrame) -> Rows:
        """Summarise the ends of the schedules that are compared with each other, over all their seeds."""
        design = self.design
        if design.pair_runs is not None:
            table = table_of(load_runs(design.pair_runs), self.cost(), design)
        return summary(table.filter(pl.col("lr").is_in(design.rates)), policies=design.pairs)

    def runs(self) -> Runs:
        """Load this experiment's runs, and the fixed ones of an exported sweep."""
        exported = [self.design.fixed_runs] if self.design.fixed_runs else []
        return load_runs([*([self.root] if self.root.exists() else []), *exported])

    def cost(self) -> dict[str, Any]:
        """Seconds a step at each size, measured once and kept beside the runs."""
        place = self.root / "cost.json"
        if not place.exists():
            config = {"task": self.task, "threads": 1, **self.design.settings}
            timing = seconds_a_step(config, self.design.sizes, rounds=self.design.rounds, data_dir=self.data)
            of = f"median CPU seconds of a step, {timing.rounds} interleaved rounds, one thread"
            record = {
                "seconds": timing.plain,
                "measured": timing.measured,
                "quartiles": timing.spread,
                "of": of,
            }
            self.root.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(record), encoding="utf-8")
        cost: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        return cost

    def beacons(self) -> Beacons:
        """Of the selection seeds' fixed runs, made once."""
        return read_beacons(self._beacon_file())

    def _beacon_file(self) -> Path:
        file = self.root / "beacons.json"
        if not file.exists():
            mine = self.runs().filter(pl.col("seed").is_in(self.design.seeds), pl.col("task") == self.task)
            seconds = {int(size): value for size, value in self.cost()["seconds"].items()}
            beacons = beacons_of(mine, seconds, axis="cond_geomean", task=self.task, sizes=self.design.sizes)
            file.write_text(beacons.to_json(), encoding="utf-8")
        return file

    def _arms(self, *, beacon: bool = False) -> list[Arm]:
        """Return the settings to confirm, the reference first; or BeaconPolicy's."""
        chosen, reference = choice(table_of(self.runs(), self.cost(), self.design), self.design)
        return [arm for arm in [reference, *chosen] if (arm["family"] == "beacon") is beacon]

    def _confirm(self, settings: list[tuple[str, float]]) -> None:
        """Seed by seed: whenever this is stopped, settings have about as many."""
        for seed in self.design.confirm:
            for policy, lr in settings:
                self._sweep(policies=[policy], lrs=[lr], seeds=[seed])

    def _sweep(self, **grid: Any) -> None:
        run_sweep({"task": self.task, **self.design.settings, **grid}, self.root, jobs=1, data_dir=self.data)


def environment(runs: Runs) -> dict[str, Any]:
    """Versions and machine of a run of this experiment."""
    recorded = runs.head(next(iter(runs.paths)))["environment"]
    return {
        key: recorded[key]
        for key in ("fisherscope", "python", "torch", "numpy", "machine")
        if key in recorded
    }


def picture(written: dict[str, Any], task: str) -> None:
    """Error against time of the confirmed settings, docs/images/dynamic-TASK.png."""
    from fisherscope.figures.pareto import Reached, pareto
    from fisherscope.figures.style import panels, paper_style

    rows = [row for row in written["confirmation"] if not row["diverged"]]
    base = next((row for row in rows if row["family"] == "reference"), None)
    points = [
        Reached(
            row["policy"] if fixed else NAMES.get(row["family"], row["family"]),
            row["seconds"],
            row["test"],
            row["test_std"] or 0.0,
            fixed,
        )
        for row in rows
        for fixed in [row["family"] in ("fixed front", "reference")]
        if not (row["family"] == "fixed front" and base and row["policy"] == base["policy"])
    ]
    if not points:
        return
    there = {row["policy"] for row in rows}
    points += [
        Reached(
            f"{arm['policy']} (seeds that chose)", arm["seconds"], arm["test"], arm["test_std"] or 0.0, True
        )
        for arm in written["choice"]["families"]
        if arm["family"] == "fixed front" and arm["policy"] not in there and not arm["diverged"]
    ]
    counts = sorted({row["n"] for row in rows})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    with paper_style():
        figure, (axes,) = panels(1, 1, (7.6, 4.6))
        pareto(points, axes)
        axes.set_title(f"{task}, {seeds} seeds that did not choose")
        figure.savefig(IMAGES / f"dynamic-{task.replace('/', '-')}.png", dpi=110)


def _lines(written: dict[str, Any]) -> str:
    """JSON with a line for each key, and one for each row of a table."""
    parts = []
    for key, value in written.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n  " + ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value
