"""How the numbers were made, and the commands, versions and configuration that make them again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import PurePath
from typing import Any

import fisherscope
from fisherscope.analysis import Landscape, Settings
from fisherscope.report.chart_data import label
from fisherscope.report.html_text import safe, table

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


def definitions(found: Landscape | str) -> str:
    """What each number is, in words."""
    rows = [[safe(name), safe(words)] for name, words in DEFINITIONS.items()]
    if not isinstance(found, str) and len(found.mapped) >= 4:
        how = "a Gaussian process" if found.method == "process" else "the five nearest settings"
        rows.append(["contours", CONTOURS.format(how=how)])
    return table(["", ""], rows, kind="words")


def reproduction(source: Settings, directory: str) -> str:
    """Commands, versions and configuration of the runs."""
    heads = [source.runs.head(run_id) for run_id in source.frame["run_id"]]
    environments = [head.get("environment") or {} for head in heads]
    commands = [_command(str(e["command"])) for e in environments if e.get("command")]
    listed = list(dict.fromkeys(commands))
    more = f"\n# and {len(listed) - MOST} more" if len(listed) > MOST else ""
    place = f"'{directory}'" if " " in directory else directory
    verbs = [f"fisherscope {verb} {place}" for verb in ("select", "claims", "table", "report")]
    made = (
        f"<p>The runs were made by</p><pre>{safe(chr(10).join(listed[:MOST]) + more)}</pre>" if listed else ""
    )
    return (
        f"{made}<p>and this page by</p><pre>{safe(chr(10).join(verbs))} -o report.html</pre>"
        + table(["version of", "value"], _rows(environments, without=("command",)), kind="words")
        + "<details><summary>configuration</summary>"
        + table(["key", "value"], _rows([head["config"] for head in heads]), kind="words")
        + "</details>"
        + f"<footer>Written by fisherscope {safe(fisherscope.__version__)} from {len(heads)} runs in "
        f"<code>{safe(directory)}</code>. Measures: Z. Liao, T. Drummond, I. Reid, G. Carneiro, "
        "<cite>Approximate Fisher Information Matrix to Characterize the Training of Deep Neural Networks"
        "</cite>, IEEE TPAMI 42(1), 2020.</footer>"
    )


def axes_told(found: Landscape | str) -> str:
    """What the plane's axes and colours are, in a sentence."""
    if isinstance(found, str):
        return ""
    return (
        f"Each mark is a setting: across {safe(label(found.x))}, upwards {safe(label(found.y))}; its colour "
        f"is the final {safe(label(found.metric))}. The slider plays how runs travel there."
    )


def _command(text: str) -> str:
    """As a user types it, without the path of the program."""
    program, _, rest = text.partition(" ")
    name = PurePath(program).name
    return f"{'fisherscope' if name in ('__main__.py', 'fisherscope') else f'python {name}'} {rest}".strip()


def _rows(given: list[dict[str, Any]], without: tuple[str, ...] = ()) -> list[list[str]]:
    """A row a key: its values over the runs, most frequent first."""
    keys = [key for key in dict.fromkeys(key for one in given for key in one) if key not in without]
    rows = []
    for key in keys:
        values = Counter(_plain(one[key]) for one in given if key in one)
        shown = ", ".join(value for value, _ in values.most_common(MOST))
        more = f" and {len(values) - MOST} more" if len(values) > MOST else ""
        rows.append([safe(key), safe(shown + more)])
    return rows


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
