"""Names of measures and metrics on axes, and the units they are shown in."""

import re

MEASURES = {
    "fisher/cond_mean": r"$\bar{C}_K$, mean condition number",
    "fisher/cond_mean_epochs": r"$\bar{C}_K$, every epoch alike",
    "fisher/cond_geomean": r"geometric mean of $c_k$",
    "fisher/cond_median": r"median of $c_k$",
    "fisher/cond": r"$c_k$, condition number",
    "fisher/energy_sum": r"$L_K$, summed energy",
    "fisher/energy": r"$l_k$, energy",
    "fisher/cond_mean_paper": r"$\bar{C}_K$, mean over the measured steps",
    "fisher/energy_sum_paper": r"$L_K$, estimated from the measured steps",
}
PARTS = {"train": "training", "val": "validation", "test": "test"}
RATES = ("error", "accuracy")
LONG = 28
"""Characters that a panel's title or a legend has room for."""
PREFIX = "fisher/"
RUNNING = "_running"
"""Ends a metric of the training batches as they were trained, such as train/error_running."""


def measure_label(name: str) -> str:
    """Label a measure for matplotlib: the paper's letter if it has one, else its name."""
    paper_label = next((MEASURES[n] for n in (name, PREFIX + name) if n in MEASURES), None)
    if paper_label is not None:
        return paper_label
    head, _, rule = name.removeprefix(PREFIX).partition("@")
    return head.replace("_", " ") + (f" by the rule {rule}" if rule else "")


def metric_label(name: str) -> str:
    """Label a metric: `val/error` becomes `validation error (%)`."""
    part, kind = name.rpartition("/")[0], metric_kind(name)
    running = "running " if name.endswith(RUNNING) else ""
    words = f"{running}{PARTS.get(part, part)} {kind.replace('_', ' ')}".strip()
    return f"{words} (%)" if is_rate(name) else words


def metric_kind(name: str) -> str:
    """Return what a metric measures: `error` of `test/error` and of `train/error_running`."""
    return name.rpartition("/")[2].removesuffix(RUNNING)


def setting_label(name: str) -> str:
    """Shorten a setting's name: a beacon file to its digest, wrappers on lines of their own."""
    short = re.sub(r"^beacon:[^@+]*@([0-9a-f]{6})[0-9a-f]*", r"beacon \1", name)
    return short if len(short) <= LONG else short.replace("+", "\n+")


def is_rate(name: str) -> bool:
    """Return whether a metric is a share, shown in per cent."""
    return metric_kind(name) in RATES


def shown_scale(name: str) -> float:
    """Return the factor that a metric is multiplied by to be shown."""
    return 100.0 if is_rate(name) else 1.0
