"""Seconds of a step, measured in turn over batch sizes: one file beside the runs that they hold for.

`step_times.json` in a directory of runs is a list of records, one a configuration; an export has the same
file. Every time that a screen shows comes from these records, or from the runs' own process times
(`analysis.data.cost_estimation`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fisherscope.bounded_reading import LARGEST_DOCUMENT, parse_json, read_bytes
from fisherscope.plain_text import short_repr
from fisherscope.runs.atomic_io import replace_json
from fisherscope.runs.errors import RunError

STEP_TIMES = "step_times.json"
FORMAT = 1
ALIKE = ("task", "precision", "optimizer", "compile", "micro_batch", "threads")
"""Keys of a configuration, besides the device's type, that the seconds of a step depend on."""


@dataclass(frozen=True)
class StepTimesRecord:
    """Seconds of a step by batch size, every size timed once in each round.

    Args:
        config: What the seconds hold for: the keys `ALIKE`, and `device`, its type.
        plain: Seconds of an unmeasured step in each round, by batch size.
        measured: The same of a measured step.
        medians: Median seconds of an unmeasured step, where rounds were not kept.
        quartiles: Interquartile range of these, seconds.
        measured_medians: Median seconds of a measured step, where rounds were not kept.
        rounds: Number of rounds behind `medians`.
        environment: Versions and machine.

    Example:
        ```python
        from fisherscope.runs.step_times import StepTimesRecord

        config = {"task": "mine", "device": "cpu"}
        record = StepTimesRecord(config, plain={8: (0.01, 0.011), 16: (0.015, 0.016)})
        assert record.sizes == (8, 16)
        ```
    """

    config: dict[str, Any]
    plain: dict[int, tuple[float, ...]] = field(default_factory=dict)
    measured: dict[int, tuple[float, ...]] = field(default_factory=dict)
    medians: dict[int, float] = field(default_factory=dict)
    quartiles: dict[int, float] = field(default_factory=dict)
    measured_medians: dict[int, float] = field(default_factory=dict)
    rounds: int = 0
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes that were timed, ascending."""
        return tuple(sorted({*self.plain, *self.medians}))

    def holds_for(self, config: Mapping[str, Any]) -> bool:
        """Return whether runs of a configuration take the steps that were timed."""
        return all(self.config.get(key) == value for key, value in timed_config(config).items())


def timed_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that the seconds of a step depend on."""
    device = str(config.get("device") or "cpu").partition(":")[0]
    return {key: config.get(key) for key in ALIKE} | {"device": device}


def read_step_times(path: Path) -> list[StepTimesRecord]:
    """Read the records of a file.

    Args:
        path: The file.

    Returns:
        The records; none if there is no such file.

    Raises:
        RunError: The file is damaged, or of another format.
    """
    try:
        text = read_bytes(path, LARGEST_DOCUMENT).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"reading {path}: {error.strerror or error}; delete it and measure again") from error
    return parse_step_times(text, str(path))


def parse_step_times(text: str, where: str) -> list[StepTimesRecord]:
    """Parse the text of a file of records.

    Args:
        text: JSON.
        where: Name of the file, for errors.

    Returns:
        The records.

    Raises:
        RunError: The text is damaged, or of another format.
    """
    try:
        contents = parse_json(text)
        if contents["format"] != FORMAT:
            raise RunError(
                f"reading {where}: it has format {short_repr(contents['format'])}, this version of "
                f"fisherscope reads {FORMAT}; use the version that wrote it, or measure again: "
                "fisherscope times DIR"
            )
        return [_record(values) for values in contents["records"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RunError(
            f"reading {where}: it holds no step times ({type(error).__name__}: {short_repr(str(error))}); "
            "delete it and measure again: fisherscope times DIR"
        ) from error


def step_times_json(records: Iterable[StepTimesRecord]) -> dict[str, Any]:
    """Return the JSON value of a file of records."""
    return {"format": FORMAT, "records": [_plain(record) for record in records]}


def add_step_times(directory: Path, record: StepTimesRecord) -> Path:
    """Add a record to a directory of runs, in place of an earlier one of the same configuration.

    Args:
        directory: Directory that holds the runs.
        record: The record.

    Returns:
        The file that holds it now.

    Raises:
        RunError: The file that is there is damaged.
    """
    path = directory / STEP_TIMES
    others = [other for other in read_step_times(path) if other.config != record.config]
    replace_json(path, step_times_json([*others, record]))
    return path


def matching_record(records: Sequence[StepTimesRecord], config: Mapping[str, Any]) -> StepTimesRecord | None:
    """Return the last record that holds for a configuration."""
    return next((record for record in reversed(records) if record.holds_for(config)), None)


def _plain(record: StepTimesRecord) -> dict[str, Any]:
    return {key: value for key, value in asdict(record).items() if value}


def _record(values: dict[str, Any]) -> StepTimesRecord:
    """Make a record of JSON values, whose keys are texts."""

    def rounds(key: str) -> dict[int, tuple[float, ...]]:
        return {int(size): tuple(map(float, seconds)) for size, seconds in values.get(key, {}).items()}

    def numbers(key: str) -> dict[int, float]:
        return {int(size): float(seconds) for size, seconds in values.get(key, {}).items()}

    return StepTimesRecord(
        dict(values["config"]), rounds("plain"), rounds("measured"), numbers("medians"), numbers("quartiles"),
        numbers("measured_medians"), int(values.get("rounds", 0)), dict(values.get("environment", {})),
    )  # fmt: skip
