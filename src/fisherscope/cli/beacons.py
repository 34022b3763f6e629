"""`fisherscope beacons RUNS`: what BeaconPolicy steers by, as one file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

OUT = Path("beacons.json")
ROUNDS = 15


def beacons(
    runs: Annotated[Path, typer.Argument(help="Directory of finished runs of fixed batch sizes.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = OUT,
    axis: Annotated[
        str, typer.Option(help="effective_rank_mean, cond_geomean, cond_mean, …")
    ] = "effective_rank_mean",
    task: Annotated[str | None, typer.Option(help="Whose runs, where there are several.")] = None,
    meant_for: Annotated[
        str | None, typer.Option("--for", help="A related task that is to be steered.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Samples in that task's epochs.")] = None,
    across: Annotated[bool, typer.Option(help="Steer another architecture all the same.")] = False,
    sizes: Annotated[str | None, typer.Option(help="Sizes that may be used, by comma; else all.")] = None,
    tour: Annotated[
        str | None, typer.Option(help="Sizes to learn growth by in a run's own first epochs.")
    ] = None,
    seconds: Annotated[
        Path | None, typer.Option(help="JSON {size: seconds a step}; else measured now.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What the region is the best of.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data files lie.")] = None,
) -> None:
    """Write growth, region and cost of finished runs; train --policy beacon:FILE.json steers by them."""
    from fisherscope.analysis import beacons_of
    from fisherscope.runs import load_runs

    wanted, toured = _listed("--sizes", sizes), _listed("--tour", tour)
    loaded = load_runs(runs)
    cost = _read(seconds) if seconds else _measured(loaded, task, meant_for, data_dir)
    made = beacons_of(
        loaded, cost, axis=axis, metric=metric, task=task, meant_for=meant_for, samples=samples,
        across=across, sizes=wanted, tour=toured,
    )  # fmt: skip
    out.write_text(made.to_json(), encoding="utf-8")
    inside = [place.setting for place in made.region if place.inside]
    growth = f"{len(made.beacons)} beacons" if made.beacons else f"a tour of sizes {tour}"
    print(
        f"{out} ({made.digest}): {growth} for {made.meant_for}, sizes {made.sizes[0]} to {made.sizes[-1]}, "
        f"{made.epochs} epochs of {made.samples} samples\n"
        f"region by {made.axis} and L: {len(inside)} of {len(made.region)} settings: {', '.join(inside)}\n"
        f"steer by: fisherscope train {made.meant_for} --policy beacon:{out} --epochs {made.epochs} --lr …"
    )


def _listed(option: str, text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(",")) if text else ()
    except ValueError as error:
        raise ValueError(f"reading {option} {text}: expected whole numbers such as 8,32,128") from error


def _read(path: Path) -> dict[int, float]:
    try:
        held = json.loads(path.read_text())
        return {int(size): float(value) for size, value in held.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f'reading the cost model {path}: {error}; expected JSON such as {{"8": 0.004, "32": 0.006}}'
        ) from error


def _measured(
    loaded: Any, task: str | None, meant_for: str | None, data_dir: Path | None
) -> dict[int, float]:
    """Seconds a step at each size of the runs, in their own configuration."""
    from fisherscope.analysis import settings_of
    from fisherscope.sweep import seconds_a_step

    source = settings_of(loaded, task=task).fixed()
    config = dict(loaded.head(source.frame["run_id"][0])["config"])
    config |= {"task": meant_for} if meant_for else {}
    sizes = sorted(set(source.frame["batch_size"].to_list()))
    print(f"measuring seconds a step at {', '.join(map(str, sizes))} …", flush=True)
    return seconds_a_step(config, sizes, rounds=ROUNDS, data_dir=data_dir).plain
