"""Diagnose a recorded run: read its files, collect its findings, show them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from fisherscope.diagnosis.finding import SEVERITIES, Finding
from fisherscope.diagnosis.run_findings import run_findings
from fisherscope.html_repr import grid
from fisherscope.runs import queries
from fisherscope.runs.errors import DamagedRunError
from fisherscope.runs.reader import load_runs

if TYPE_CHECKING:
    from fisherscope.runs.reader import Runs


@dataclass(frozen=True)
class Diagnosis:
    """Hold the findings of one run, worst first.

    Args:
        run_id: The run.
        status: finished, diverged, interrupted, failed, running or crashed.
        findings: What is wrong or wasted; none if all is well.

    Example:
        ```python
        assert "nothing is wrong" in str(fs.diagnosis.Diagnosis("one", "finished", ()))
        ```
    """

    run_id: str
    status: str
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        head = f"{self.run_id} ({self.status}): "
        if not self.findings:
            return head + "nothing is wrong that its rows show"
        counts = [(s, sum(finding.severity == s for finding in self.findings)) for s in SEVERITIES]
        head += ", ".join(f"{count} {s}{'s' if count > 1 else ''}" for s, count in counts if count)
        return "\n".join([head, *(f"  {finding}" for finding in self.findings)])

    def _repr_html_(self) -> str:
        if not self.findings:
            return f"<p>{escape(str(self))}</p>"
        rows = [(finding.severity, finding.text, finding.remedy) for finding in self.findings]
        return grid(("severity", "finding", "what to try"), rows)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values.

        Returns:
            `run_id, status, findings`; a finding has `name, severity, text, remedy, evidence`.

        Example:
            ```python
            assert fs.diagnosis.Diagnosis("one", "finished", ()).to_dict()["findings"] == []
            ```
        """
        return asdict(self) | {"findings": [asdict(finding) for finding in self.findings]}


def diagnose(run: str | os.PathLike[str]) -> Diagnosis:
    """Say what is wrong or wasted in a run, with evidence and what to try.

    Args:
        run: The run's directory, or an exported file that holds one run.

    Returns:
        The findings, worst first; `str(…)` lists them.

    Raises:
        ValueError: There is no run, or there are several; the error names them.

    Cost: reading the run's rows; some milliseconds for a thousand.

    Example:
        ```python
        with fs.open_run("runs/diagnosed", {"seed": 0}, restart=True) as run:
            run.finish("diverged", "loss is NaN")
        assert fs.diagnose("runs/diagnosed").findings[0].name == "diverged"
        ```
    """
    runs = load_runs(run)
    if len(runs) != 1:
        names = ", ".join(list(runs.paths)[:5]) + (", …" if len(runs) > 5 else "")
        raise ValueError(
            f"diagnosing {run}: it holds {len(runs)} runs{': ' + names if names else ''}; expected one, such "
            "as the directory of a single run"
        )
    return diagnosis_of(runs, next(iter(runs.paths)))


def diagnosis_of(runs: Runs, run_id: str) -> Diagnosis:
    """Diagnose one of several loaded runs.

    Args:
        runs: The runs.
        run_id: A key of `runs.paths`.

    Returns:
        Its findings.

    Raises:
        KeyError: There is no such run.
    """
    import polars as pl

    head, one = runs.head(run_id), runs.filter(pl.col("run_id") == run_id)
    status = str(one.runs["status"][0])
    steps, epochs = one.steps.to_dicts(), one.epochs.to_dicts()
    damage = [why for path, why in one.damaged.items() if runs.paths[run_id] in path.parents]
    spikes: list[dict[str, Any]] = []
    if runs.paths[run_id].is_dir():  # an exported file has none
        try:
            spikes = queries.spikes(runs.paths[run_id])
        except DamagedRunError as error:
            damage.append(str(error))
    findings = [Finding("damaged", "error", f"{_upper(why)}.") for why in damage]
    findings += run_findings({**head, "status": status}, steps, epochs, spikes)
    return Diagnosis(run_id, status, tuple(findings))


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
