"""Run `fisherscope beacons RUNS`: summarise finished runs for the beacon policy."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fisherscope.cli.sweep import parse_numbers

OUT = Path("beacons.json")
ROUNDS = 15


def beacons(
    runs: Annotated[Path, typer.Argument(help="Directory of finished runs of fixed batch sizes.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = OUT,
    axis: Annotated[
        str, typer.Option(help="Measure of the plane: effective_rank_mean, cond_geomean, cond_mean, …")
    ] = "effective_rank_mean",
    task: Annotated[
        str | None, typer.Option(help="Task of the runs, if the directory holds several.")
    ] = None,
    meant_for: Annotated[
        str | None, typer.Option("--for", help="Related task to steer; by default that of the runs.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Training samples of the task to steer.")] = None,
    across: Annotated[bool, typer.Option(help="Allow a different architecture.")] = False,
    sizes: Annotated[
        str | None, typer.Option(help="Batch sizes the policy may use, such as 8,32,128; by default all.")
    ] = None,
    tour: Annotated[
        str | None, typer.Option(help="Batch sizes to try in the first epochs, to estimate growth.")
    ] = None,
    rates: Annotated[
        str, typer.Option(help="Multipliers of the learning rate the policy may use, such as 0.5,1,2.")
    ] = "1",
    seconds: Annotated[
        Path | None, typer.Option(help="JSON file {size: seconds per step}; by default measured now.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric that defines the target region.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
) -> None:
    """Summarise finished runs into a file for train --policy beacon:FILE.json."""
    from fisherscope.analysis import beacons_of
    from fisherscope.runs import load_runs, replace_text

    usable_sizes, first_sizes = _parse_sizes("--sizes", sizes), _parse_sizes("--tour", tour)
    multipliers = tuple(parse_numbers(rates, float) or ())
    loaded = load_runs(runs)
    cost = _read_seconds(seconds) if seconds else _measure_seconds(loaded, task, meant_for, data_dir)
    result = beacons_of(
        loaded, cost, axis=axis, metric=metric, task=task, meant_for=meant_for, samples=samples,
        across=across, sizes=usable_sizes, tour=first_sizes, rates=multipliers,
    )  # fmt: skip
    replace_text(out, result.to_json())
    inside = [end.setting for end in result.region if end.inside]
    growth = f"{len(result.beacons)} beacons" if result.beacons else f"a tour of sizes {tour}"
    print(
        f"{out} ({result.digest}): {growth} for {result.meant_for}, "
        f"sizes {result.sizes[0]} to {result.sizes[-1]}, {result.epochs} epochs of {result.samples} samples\n"
        f"region by {result.axis} and L: {len(inside)} of {len(result.region)} settings: "
        f"{', '.join(inside)}\n"
        f"use: fisherscope train {result.meant_for} --policy beacon:{out} --epochs {result.epochs} --lr …"
    )


def _parse_sizes(option: str, text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(",")) if text else ()
    except ValueError as error:
        raise ValueError(f"reading {option} {text}: expected whole numbers such as 8,32,128") from error


def _read_seconds(path: Path) -> dict[int, float]:
    """Read seconds per step by batch size.

    Raises:
        ValueError: It cannot be read, or holds something else.
    """
    from fisherscope.bounded_reading import LARGEST_DOCUMENT, parse_json, read_bytes
    from fisherscope.plain_text import short_repr

    try:
        seconds = parse_json(read_bytes(path, LARGEST_DOCUMENT))
        return {int(size): float(value) for size, value in seconds.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"reading the cost model {path}: {short_repr(str(error))}; "
            f'expected JSON such as {{"8": 0.004, "32": 0.006}}'
        ) from error


def _measure_seconds(
    loaded: Any, task: str | None, meant_for: str | None, data_dir: Path | None
) -> dict[int, float]:
    """Measure the seconds of a step at each batch size, in the runs' configuration."""
    from fisherscope.analysis import settings_of
    from fisherscope.sweep import seconds_a_step
    from fisherscope.tasks import check_trust

    source = settings_of(loaded, task=task).fixed()
    if not len(source.frame):
        raise ValueError("measuring seconds per step: no run has a constant batch size; give --seconds FILE")
    config = dict(loaded.head(source.frame["run_id"][0])["config"])
    config |= {"task": meant_for} if meant_for else {}
    check_trust(str(config.get("task", "")), meant_for or task, "--seconds FILE, or --task")
    sizes = sorted(set(source.frame["batch_size"].drop_nulls().to_list()))
    print(f"measuring seconds per step at {', '.join(map(str, sizes))} …", flush=True)
    return seconds_a_step(config, sizes, rounds=ROUNDS, data_dir=data_dir).plain
