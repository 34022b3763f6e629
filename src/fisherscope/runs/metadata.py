"""run.json: what makes a run, where it was begun, and how it stands."""

import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from fisherscope.runs.atomic_io import read_json, replace_json
from fisherscope.runs.config_values import differences, plain_config
from fisherscope.runs.errors import DamagedRunError, RunError
from fisherscope.runs.paths import FORMAT, GONE, RUN, STATUSES

TEXTS = ("id", "status", "reason", "created", "updated")


class RunMetadata:
    """The head of a run that is being written; `known` is the one that an earlier writer left, if any.

    Nothing is written before `save` or `mark`.

    Raises:
        RunError: The earlier run is of another configuration.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any] | None,
        environment: Mapping[str, Any] | None,
        known: dict[str, Any] | None,
    ) -> None:
        self.path = path
        self.config = plain_config(known["config"] if config is None and known else config or {})
        self._held = self._new(environment) if known is None else known
        if self.status == "running" and known:
            self._held |= GONE  # for the lock is ours
        if differing := differences(self.config, self._held["config"]):
            raise RunError(
                f"opening {path}: it holds a run of another configuration: {', '.join(differing)}; "
                "give another directory, or delete that one (restart=True drops the run)"
            )

    @property
    def status(self) -> str:
        """As in run.json."""
        return str(self._held["status"])

    @property
    def reason(self) -> str:
        """As in run.json."""
        return str(self._held["reason"])

    @property
    def environment(self) -> dict[str, Any]:
        """Versions and machine at the run's beginning."""
        return dict(self._held["environment"])

    def mark(self, status: str, reason: str = "") -> None:
        """Say how the run stands from now on."""
        self._held |= {"status": status, "reason": reason}
        self.save()

    def save(self) -> None:
        """Replace run.json."""
        self._held["updated"] = now()
        replace_json(self.path / RUN, self._held)

    def _new(self, environment: Mapping[str, Any] | None) -> dict[str, Any]:
        began = now()
        return {
            "format": FORMAT,
            "id": self.path.resolve().name,
            "config": self.config,
            "environment": {**surroundings(), **plain_config(environment or {})},
            "status": "running",
            "reason": "",
            "created": began,
            "updated": began,
        }


def read_run(path: Path) -> dict[str, Any]:
    """The head of a run.

    Raises:
        DamagedRunError: Its run.json is not one.
        RunError: It is of another format.
    """
    head = read_json(path / RUN)
    if head.get("format") != FORMAT:
        raise RunError(
            f"reading {path / RUN}: it has format {head.get('format')!r}, this version of fisherscope "
            f"reads {FORMAT}; use the version that wrote it"
        )
    wrong = [name for name in TEXTS if not isinstance(head.get(name), str)]
    wrong += [name for name in ("config", "environment") if not isinstance(head.get(name), dict)]
    if wrong or head["status"] not in STATUSES:
        raise DamagedRunError(
            f"reading {path / RUN}: damaged, {', '.join(wrong) or 'status'} missing or not as written; "
            "restore it from a copy"
        )
    return head


def now() -> str:
    """The time, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def surroundings() -> dict[str, Any]:
    """Versions, machine and command of this process."""

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
