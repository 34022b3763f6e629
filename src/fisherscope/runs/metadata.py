"""run.json: a run's configuration, the environment it was started in, and its status."""

import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from fisherscope.plain_text import short_repr
from fisherscope.runs.atomic_io import read_json, replace_json
from fisherscope.runs.config_values import differences, json_config
from fisherscope.runs.errors import ChangedRunError, DamagedRunError, RunError
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

    def identify(self, computes: dict[str, Any], *, new: bool) -> None:
        """Store what the run computes, or compare it with what it began with.

        Args:
            computes: JSON values.
            new: Whether the run has no rows; only then they are stored. Runs of version 0.1 have none.

        Raises:
            ChangedRunError: They differ.
        """
        earlier = self._head.get("computes")
        if isinstance(earlier, dict):
            changed = [key for key in computes if not _alike(earlier.get(key), computes[key])]
            if changed:
                texts = ", ".join(_change(key, earlier[key], computes[key]) for key in changed)
                raise ChangedRunError(
                    f"resuming {self.path}: what it computes has changed since it began ({texts}); go on "
                    "with the earlier code and data, give another directory, or delete this one to start over"
                )
        elif new:
            self._head["computes"] = computes
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
    check_head(head, path / RUN)
    return head


def check_head(head: Any, where: object) -> None:
    """Check that a value is the content of a run.json that this version reads.

    Args:
        head: The value.
        where: File that it is of, for the error.

    Raises:
        DamagedRunError: A key is missing or of another type.
        RunError: It is of another format.
    """
    if not isinstance(head, dict):
        raise DamagedRunError(
            f"reading {where}: damaged, expected a JSON object, received {short_repr(head)}"
        )
    if head.get("format") != FORMAT or isinstance(head["format"], bool):
        raise RunError(
            f"reading {where}: it has format {short_repr(head.get('format'))}, this version of fisherscope "
            f"reads {FORMAT}; use the version that wrote it"
        )
    invalid = [name for name in TEXT_KEYS if not isinstance(head.get(name), str)]
    invalid += [name for name in ("config", "environment") if not isinstance(head.get(name), dict)]
    invalid += [DESCRIPTION] if not isinstance(head.get(DESCRIPTION, {}), dict) else []
    if invalid or head["status"] not in STATUSES:
        raise DamagedRunError(
            f"reading {where}: damaged, {', '.join(invalid) or 'status'} missing or invalid; "
            "restore it from a copy"
        )


WHAT = {"file": "the task's file", "batch": "its first batch", "weights": "its initial weights"}
CLOSE = 1e-5
"""Relative difference of real numbers that another machine may make."""


def _alike(earlier: Any, now: Any) -> bool:
    """Return whether two values say the same; None says nothing."""
    if earlier is None or now is None:
        return True
    if isinstance(earlier, dict) and isinstance(now, dict):
        return all(_alike(earlier.get(key), now.get(key)) for key in {*earlier, *now})
    if isinstance(earlier, list) and isinstance(now, list) and len(earlier) == len(now):
        numbers = [abs(v) for v in (*earlier, *now) if isinstance(v, int | float)]
        scale = max(numbers, default=0.0)
        return all(_near(a, b, scale) for a, b in zip(earlier, now, strict=True))
    return _near(earlier, now, 0.0)


def _near(earlier: Any, now: Any, scale: float) -> bool:
    if isinstance(earlier, int | float) and isinstance(now, int | float):
        return bool(abs(earlier - now) <= CLOSE * max(abs(earlier), abs(now), scale))
    return bool(earlier == now)


def _change(key: str, earlier: Any, now: Any) -> str:
    if isinstance(earlier, int | float) and isinstance(now, int | float):
        return f"its first {key}: {earlier:.6g}, now {now:.6g}"
    return WHAT.get(key, short_repr(key))


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
