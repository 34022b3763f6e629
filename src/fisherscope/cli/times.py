"""Run `fisherscope times DIR`: measure the seconds of a step at every batch size of recorded runs."""

from pathlib import Path
from typing import Annotated, Any

import typer


def times(
    directory: Annotated[Path, typer.Argument(help="Directory of runs, or an exported file.", metavar="DIR")],
    rounds: Annotated[int, typer.Option(help="Rounds; each times one step of every size.")] = 15,
    sizes: Annotated[
        str | None, typer.Option(help="Batch sizes, such as 8,16,32; by default those of the runs.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device, such as cuda:1; by default the runs'.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of the runs, needed if it is your own code (module:function).")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the data files.")] = None,
) -> None:
    """Measure seconds a step at each batch size, all sizes in turn, and keep them beside the runs.

    Every time that table, select, report, claims and export show comes from these. Leave the machine to it.
    """
    from fisherscope.cli.sweep import parse_numbers
    from fisherscope.plain_text import aligned_table
    from fisherscope.sweep import record_step_times
    from fisherscope.tasks import check_trust

    if rounds < 3:
        raise ValueError(f"timing steps with rounds={rounds}: expected at least 3, for an interval")
    for place, config, used in timed_configurations(directory):
        check_trust(str(config["task"]), task)
        wanted = parse_numbers(sizes, int) or used
        chosen = config | ({"device": device} if device else {})
        print(
            f"{chosen['task']}: timing steps at {', '.join(map(str, wanted))}, {rounds} rounds …", flush=True
        )
        record = record_step_times(chosen, wanted, place, rounds=rounds, data_dir=data_dir)
        print("\n".join(aligned_table(HEAD, [_row(record, size) for size in record.sizes], align="r")))
    print(f"Kept in {directory}; table, select, report, claims and export use them.")


HEAD = ("batch", "s/step", "95 % interval", "measured s/step")


def timed_configurations(directory: Path) -> list[tuple[Path, dict[str, Any], list[int]]]:
    """Return where runs lie, their configurations whose steps differ in time, and the batch sizes they used.

    Args:
        directory: Directory of runs, or an exported file.

    Raises:
        ValueError: No run there was trained by fisherscope, so that no step can be taken again.
    """
    import json

    from fisherscope.runs.reader import load_runs
    from fisherscope.runs.step_times import timed_config
    from fisherscope.training import Configuration

    runs = load_runs(directory)
    sizes_by_run: dict[str, set[int]] = {run_id: set() for run_id in runs.paths}
    if "batch_size" in runs.epochs.columns:
        for run_id, size in runs.epochs.select("run_id", "batch_size").drop_nulls().unique().iter_rows():
            sizes_by_run[run_id].add(int(size))
    found: dict[tuple[Path, str], tuple[dict[str, Any], list[int]]] = {}
    for run_id, sizes in sizes_by_run.items():
        config = runs.head(run_id)["config"]
        if "task" not in config or not set(config) <= set(Configuration.model_fields):
            continue
        place = directory if directory.is_file() else runs.paths[run_id].parent
        _, before = found.setdefault((place, json.dumps(timed_config(config), sort_keys=True)), (config, []))
        before[:] = sorted({*before, *sizes, int(config.get("batch_size") or 0)} - {0})
    if not found:
        raise ValueError(
            f"timing the steps of {len(runs)} runs in {directory}: none was trained by fisherscope train, "
            "sweep or choose, so their steps cannot be taken again; steps and samples are compared without it"
        )
    return [(place, config, sizes) for (place, _), (config, sizes) in found.items()]


def _row(record: Any, size: int) -> tuple[str, ...]:
    from fisherscope.analysis.data.cost_estimation import interleaved_model

    model = interleaved_model(record)
    k = record.sizes.index(size)
    low, high = sorted(model.draws[:, k])[int(0.025 * len(model.draws))], sorted(model.draws[:, k])[-25]
    measured = model.seconds[k] + model.extra[k]
    return str(size), f"{model.seconds[k]:.3g}", f"{low:.3g} to {high:.3g}", f"{measured:.3g}"
