"""Notes on a set of runs: what is unfinished, lost, left out or mixed."""

import os
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from fisherscope.runs.reader import Runs


def setting_notes(frame: pl.DataFrame, without_setting: int, runs: Runs) -> Iterable[str]:
    """Yield what a reader of any analysis of these runs must know.

    Args:
        frame: The rows of `Settings`.
        without_setting: Runs that were left out because they have no setting.
        runs: The runs.

    Yields:
        Sentences.
    """
    if without_setting:
        yield (
            f"{without_setting} runs are left out: their configuration has no batch size and learning rate, "
            "and no policy."
        )
    if runs.damaged:
        yield f"{len(runs.damaged)} damaged files are left out, such as {next(iter(runs.damaged))}."
    for status, what in (("diverged", "diverged"), ("failed", "failed")):
        names = sorted(set(frame.filter(pl.col("status") == status)["setting"].to_list()))
        if names:
            yield f"{_name_list(names)} {what}."
    dead = frame.filter("dead")
    if len(dead):
        names = sorted(set(dead["setting"].to_list()))
        yield dead_text(names, len(dead), "finished run", runs.dead[dead["run_id"][0]])
    unfinished = frame.filter(pl.col("status").is_in(["running", "interrupted"]))
    if len(unfinished):
        yield f"{len(unfinished)} of {len(frame)} runs are not finished."
    if not len(runs.epochs):
        yield "No run has logged an epoch."
    yield from _mixture_notes(runs.runs.filter(pl.col("run_id").is_in(frame["run_id"].to_list())))
    seeds = frame.group_by("setting").agg(pl.col("seed").n_unique())["seed"]
    if (seeds == 1).all():
        yield "One seed per setting: there is no spread to compare differences with."


def _mixture_notes(runs: pl.DataFrame) -> Iterable[str]:
    """Note differences between runs that their errors depend on."""
    for key, what, absent in (("epochs", "schedules of {} epochs", ""), ("limit_train", "{} samples", "all")):
        values = set(runs[key].to_list()) if key in runs.columns else set()
        texts = [str(value) for value in sorted(values - {None})]
        texts += [absent] if absent and None in values else []
        if len(texts) > 1:
            mixture = what.format(" and ".join(texts))
            yield f"They mix {mixture}: their errors are not comparable; analyse them separately."


def _name_list(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def content_text(runs: Runs | str | os.PathLike[str]) -> str:
    """Describe what a place without runs holds."""
    if isinstance(runs, Runs):
        return "; they may have been filtered away"
    if not Path(runs).is_dir():
        return ", it is an export without runs"
    inside = sorted(path.name for path in Path(runs).iterdir())
    text = (
        f"; it holds {_name_list(inside)}, and no readable run.json at any depth"
        if inside
        else ", it is empty"
    )
    return text + "; give the directory that a sweep or open_run wrote to"


def dead_text(names: list[str], count: int, noun: str, example: str) -> str:
    """Say that networks are dead.

    Args:
        names: Their settings.
        count: Number of runs.
        noun: What the runs are called.
        example: Why the first one is.

    Returns:
        Two sentences.
    """
    runs = f"{count_text(count, noun)} {'is' if count == 1 else 'are'} dead"
    return f"{runs} ({_name_list(names)}): {example}. Their errors count as they are."


def count_text(count: int, noun: str) -> str:
    """Format a count with its noun: `1 run`, `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
