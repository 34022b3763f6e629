"""Say how the numbers of a page were made; list commands, versions and configuration that repeat them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import fisherscope
from fisherscope.analysis import Landscape

MOST = 8
"""Commands, or values of a key, that are listed."""
DEFINITIONS = {
    "c, C̄": "Condition number of the per-sample gradients of one measured batch: the ratio of the largest "
    "to the smallest non-zero singular value of the matrix whose columns they are, from the eigenvalues of "
    "their Gram matrix. C̄ is its mean so far, each measurement weighted by the steps it stands for.",
    "l, L": "Energy of a step: rate / batch size · √trace of that Gram matrix. L is its sum over the steps.",
    "places": "Geometric means over the finished seeds of a setting. A setting of which a seed diverged is "
    "left out of surfaces and means, and named.",
    "colours": "The final metric, mean over seeds, in bands that are even in its logarithm; the worst few "
    "settings share the last band.",
    "claims": "One-sided permutation and bootstrap tests, corrected over all claims (Holm).",
}
CONTOURS = (
    "A prediction between the settings, no measurement, by {how}: of two methods the one that predicted "
    "left-out settings better."
)


def definitions(landscape: Landscape | str) -> list[tuple[str, str]]:
    """Explain in words what each number of the page is."""
    rows = list(DEFINITIONS.items())
    if not isinstance(landscape, str) and len(landscape.surface_settings) >= 4:
        how = "a Gaussian process" if landscape.method == "process" else "the five nearest settings"
        rows.append(("contours", CONTOURS.format(how=how)))
    return rows


def reproduction(
    heads: Sequence[Mapping[str, Any]], directory: str, verbs: Sequence[str] = ("report",)
) -> dict[str, Any]:
    """List what repeats the runs and the page.

    Args:
        heads: run.json of each run of the page.
        directory: Their directory, as the user named it.
        verbs: Verbs whose results the page shows; the last one writes it.

    Returns:
        The names of the page's last section: `commands, verbs, versions, configuration, version, run_count,
        directory`.
    """
    environments = [head.get("environment") or {} for head in heads]
    commands = list(dict.fromkeys(_command(str(e["command"])) for e in environments if e.get("command")))
    more = f"\n# and {len(commands) - MOST} more" if len(commands) > MOST else ""
    place = f"'{directory}'" if " " in directory else directory
    return {
        "commands": "\n".join(commands[:MOST]) + more,
        "verbs": "\n".join(f"fisherscope {verb} {place}" for verb in verbs) + " -o report.html",
        "versions": _values(environments, without=("command",)),
        "configuration": _values([head["config"] for head in heads]),
        "version": fisherscope.__version__,
        "run_count": len(heads),
        "directory": directory,
    }


def _command(text: str) -> str:
    """Shorten a command line to what a user types, without the path of the program."""
    program, _, rest = text.partition(" ")
    name = PurePath(program).name
    return f"{'fisherscope' if name in ('__main__.py', 'fisherscope') else f'python {name}'} {rest}".strip()


def _values(mappings: list[dict[str, Any]], without: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """List each key with its values over the runs, most frequent first."""
    keys = [key for key in dict.fromkeys(key for one in mappings for key in one) if key not in without]
    rows = []
    for key in keys:
        values = Counter(_plain(one[key]) for one in mappings if key in one)
        listed = ", ".join(value for value, _ in values.most_common(MOST))
        more = f" and {len(values) - MOST} more" if len(values) > MOST else ""
        rows.append((key, listed + more))
    return rows


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
