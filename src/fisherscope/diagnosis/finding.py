"""One finding: what is wrong, how bad it is, the figures that show it, and what to try."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "hint"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "hint")
"""From what makes the result useless to what costs time."""


@dataclass(frozen=True)
class Finding:
    """Hold one finding.

    Args:
        name: Short name, the same in every run, such as `batch-too-large`.
        severity: "error" (the run or its numbers can't be used as they are), "warning" (something is wrong,
            the rest can be used) or "hint" (time or samples are wasted).
        text: What was found, a sentence.
        remedy: What to try, a sentence; empty where nothing is known to help.
        evidence: The figures behind it, by name; JSON values.

    Example:
        ```python
        finding = fs.diagnosis.Finding("diverged", "error", "The loss is NaN.", "Lower the learning rate.")
        assert str(finding) == "error: The loss is NaN. Lower the learning rate."
        ```
    """

    name: str
    severity: Severity
    text: str
    remedy: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.severity}: {self.sentence}"

    @property
    def sentence(self) -> str:
        """The text and the remedy."""
        return f"{self.text} {self.remedy}".rstrip()
