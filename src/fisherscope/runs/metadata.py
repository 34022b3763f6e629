"""run.json: a run's configuration, the environment it was started in, and its status."""

import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from fisherscope.runs.atomic_io import read_json, replace_json
from fisherscope.runs.config_values import differences, json_config
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.paths import FORMAT, RUN, STATUSES, WRITER_GONE

DESCRIPTION = "training"
"""Key of run.json for what a callback found of the training: model, optimizer, sizes, rates, epochs."""
TEXT_KEYS = ("id", "status", "reason", "created", "updated")


class RunMetadata:
    """Hold the run.json of a run being written; `save` and `mark` write it.

    Args:
        path: The run's directory.
        config: The configuration; None takes that of `earlier`.
        environment: Added to the versions and the machine.
        earlier: The run.json that an earlier writer left, if any.

    Raises:
        RunError: The earlier run is of another configuration.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any] | None,
        environment: Mapping[str, Any] | None,
        earlier: dict[str, Any] | None,
    ) -> None:
        self.path = path
        self.config = json_config(earlier["config"] if config is None and earlier else config or {})
        self._head = self._new(environment) if earlier is None else earlier
        if self.status == "running" and earlier:
            self._head |= WRITER_GONE  # we hold the lock, so the earlier writer does not
        if differing := differences(self.config, self._head["config"]):
            raise RunError(
                f"opening {path}: it holds a run of another configuration: {', '.join(differing)}; "
                "give another directory, or delete that one (restart=True drops the run)"
            )

    @property
    def status(self) -> str:
        """The status, as in run.json."""
        return str(self._head["status"])

    @property
    def reason(self) -> str:
        """The reason, as in run.json."""
        return str(self._head["reason"])

    @property
    def environment(self) -> dict[str, Any]:
        """Versions and machine at the start of the run."""
        return dict(self._head["environment"])

    def mark(self, status: str, reason: str = "") -> None:
        """Set the status and its reason, and save."""
        self._head |= {"status": status, "reason": reason}
        self.save()

    @property
    def description(self) -> dict[str, Any]:
        """What the training was found to be, as in run.json."""
        return dict(self._head.get(DESCRIPTION, {}))

    def describe(self, values: Mapping[str, Any]) -> None:
        """Add to what the training was found to be, and save."""
        self._head[DESCRIPTION] = self.description | json_config(values)
        self.save()

    def save(self) -> None:
        """Replace run.json."""
        self._head["updated"] = now()
        replace_json(self.path / RUN, self._head)

    def _new(self, environment: Mapping[str, Any] | None) -> dict[str, Any]:
        timestamp = now()
        return {
            "format": FORMAT,
            "id": self.path.resolve().name,
            "config": self.config,
            "environment": {**current_environment(), **json_config(environment or {})},
            "status": "running",
            "reason": "",
            "created": timestamp,
            "updated": timestamp,
        }


def read_run(path: Path) -> dict[str, Any]:
    """Read a run's run.json.

    Returns:
        Its JSON object.

    Raises:
        DamagedRunError: It is damaged.
        FileNotFoundError: There is no run.
        RunError: It is of another format, or cannot be read.
    """
    head = read_json(path / RUN)
    if head.get("format") != FORMAT:
        raise RunError(
            f"reading {path / RUN}: it has format {head.get('format')!r}, this version of fisherscope "
            f"reads {FORMAT}; use the version that wrote it"
        )
    invalid = [name for name in TEXT_KEYS if not isinstance(head.get(name), str)]
    invalid += [name for name in ("config", "environment") if not isinstance(head.get(name), dict)]
    invalid += [DESCRIPTION] if not isinstance(head.get(DESCRIPTION, {}), dict) else []
    if invalid or head["status"] not in STATUSES:
        raise DamagedRunError(
            f"reading {path / RUN}: damaged, {', '.join(invalid) or 'status'} missing or invalid; "
            "restore it from a copy"
        )
    return head


def whole_config(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a run.json: what it was opened with, then what was described."""
    given: dict[str, Any] = head["config"]
    described: dict[str, Any] = head.get(DESCRIPTION, {})
    return described | {
        key: value for key, value in given.items() if value is not None or key not in described
    }


def now() -> str:
    """Return the time in UTC, such as 2026-01-31T23:59:59Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def current_environment() -> dict[str, Any]:
    """Return versions, machine and command of this process."""

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {
        "fisherscope": version("fisherscope"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "command": " ".join(Path(part).name if k == 0 else part for k, part in enumerate(sys.argv)),
    }
