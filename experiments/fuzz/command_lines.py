"""Draw command lines: every verb, its options, and values that are wrong, huge, foreign or missing."""

from __future__ import annotations

import inspect
import random
from importlib import import_module
from typing import Any, get_args, get_type_hints

from experiments.fuzz.mutations import TEXTS

import fisherscope.cli as cli

READING = ("runs", "select", "claims", "table", "figure", "report", "export", "beacons")
TRAINING = ("train", "sweep", "choose", "doctor", "advise", "bench")
"""Drawn with options that let them end at once."""
VALUES = (
    "0",
    "-1",
    "1",
    "2",
    "8",
    "0.1",
    "nan",
    "inf",
    "1e400",
    "10" * 30,
    "8,16",
    "8,x",
    ",",
    "",
    "runs",
    "e.zip",
    "absent",
    "/dev/null",
    "/etc",
    ".",
    "runs/..",
    "val/error",
    "fisher/cond_mean",
    "cond_geomean@relative:1e-2",
    "x@y",
    "@",
    "s8",
    "s8-to-32-MS",
    "beacon:absent.json",
    "digits/mlp",
    "digits/none",
    "absent:f",
    "os:getcwd",
    "a.csv",
    "a.svg",
    "auto",
    "grid",
    "metric+grid",
    "1a",
    "7",
    "99",
    "SGD",
    "AdamW",
    "float32",
    "cpu",
    "cuda:99",
    "20%",
    "momentum=x",
    "lr=[1,2]",
    "=",
    "a=b=c",
    *(text for text in TEXTS if "\x00" not in text and len(text) < 1000),
)
HARMLESS = {
    "train": ("--print-config",),
    "sweep": ("--dry-run", "--batch-sizes", "8", "--lrs", "0.05", "--out", "runs"),
    "choose": ("digits/none",),
    "doctor": ("absent:f",),
    "advise": ("absent:f",),
    "bench": ("--case", "absent"),
}


def draw_command_line(draw: random.Random) -> list[str]:
    """Draw a command line.

    Args:
        draw: Random numbers.

    Returns:
        The arguments, the verb first.
    """
    if draw.random() < 0.03:
        return [draw.choice(("", "-", "--", "x", "RUNS", "--helpp", "\x1b[2J", "[/x]", "a" * 5000))]
    verb = draw.choice(READING if draw.random() < 0.75 else TRAINING)
    words = _positional(verb, draw)
    names = option_names(verb)
    for _ in range(draw.choice((0, 1, 1, 2, 3, 5))):
        name = draw.choice(names)
        words.append(name)
        if draw.random() < 0.9 and not _is_flag(verb, name):
            words.append(draw.choice(VALUES))
    return [verb, *words, *HARMLESS.get(verb, ())]


def _positional(verb: str, draw: random.Random) -> list[str]:
    if draw.random() < 0.15:
        return [draw.choice(VALUES) for _ in range(draw.randrange(4))]
    if verb == "figure":
        return [
            draw.choice(("1a", "1b", "1c", "1d", "2", "3", "4", "5", "6", "7", "8")),
            draw.choice(("runs", "e.zip")),
        ]
    if verb == "export":
        return [draw.choice(("runs", "e.zip")), draw.choice(("out.zip", "runs", "absent/x.zip", "e.zip"))]
    if verb in READING:
        return [draw.choice(("runs", "runs", "e.zip", "beacons.json"))]
    return []


def option_names(verb: str) -> list[str]:
    """Return the long options of a verb."""
    function = getattr(import_module(f"fisherscope.cli.{verb}"), verb)
    hints = get_type_hints(function, include_extras=True)
    names = []
    for name in inspect.signature(function).parameters:
        details: Any = get_args(hints[name])[1:]
        for one in details:
            if type(one).__name__ == "OptionInfo":
                names += [n for n in one.param_decls if n.startswith("--")] or [f"--{name.replace('_', '-')}"]
    return [name for name in names if name not in FORBIDDEN]


FORBIDDEN = {"--run-next", "--open", "--only"}
"""Options that train, or open a browser."""


def _is_flag(verb: str, name: str) -> bool:
    function = getattr(import_module(f"fisherscope.cli.{verb}"), verb)
    hints = get_type_hints(function)
    parameter = name.removeprefix("--").replace("-", "_")
    return hints.get(parameter) is bool or name in ("--json",)


assert set(READING) | set(TRAINING) <= set(cli.verbs())
