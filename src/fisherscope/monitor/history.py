"""Rows, sums and settings of a monitored run, saved as one value."""

from typing import Any

from fisherscope.guard import RefusedValue
from fisherscope.monitor.measurement import Row
from fisherscope.monitor.running_totals import Counters, RunningTotals


class History:
    """The rows of a run so far, and what they and the steps between them add up to.

    Args:
        settings: How the monitor measures; rows measured otherwise are never added to these.
        groups: Number of parameter groups of the optimizer.
    """

    def __init__(self, settings: dict[str, Any], groups: int) -> None:
        self.settings = settings
        self.running = RunningTotals(Counters([0.0] * groups))
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self._loop_ends_epochs = False

    def add_notes(self, texts: list[str]) -> None:
        """Keep what the reader of the run should know, each sentence once.

        Args:
            texts: Sentences.
        """
        self.notes += [text for text in texts if text not in self.notes]

    def end_epoch(self, epochs: int | None = None) -> None:
        """End an epoch because the loop says so; from now on only the loop ends epochs.

        Args:
            epochs: Epochs completed; by default one more than before.
        """
        self._loop_ends_epochs, count = True, self.running.counters
        count.end_epoch()
        count.epoch = count.epoch if epochs is None else epochs

    def end_epoch_by_size(self) -> None:
        """End an epoch that has as many samples as the data set, unless the loop ends epochs."""
        count, size = self.running.counters, self.settings["dataset_size"]
        if not self._loop_ends_epochs and size and count.epoch_samples >= size:
            count.end_epoch()

    def totals(self) -> Row:
        """Compute the running measures, with the steps since the last measurement counted in L_K.

        Returns:
            Keys of docs/measures.md; None where a value is undefined.
        """
        count = self.running.counters
        axes = {"step": count.steps, "samples": count.samples, "lr_sum": count.lr_sum}
        return {**axes, "batch_size": count.decided_size, **self.running.totals()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything, as JSON values; rows by column."""
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        return {
            "settings": dict(self.settings),
            "account": self.running.state_dict(),
            "epochs_given": self._loop_ends_epochs,
            "notes": list(self.notes),
            "rows": {key: [row.get(key) for row in self.rows] for key in keys},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned.

        Raises:
            ValueError: The state is that of a monitor that measures differently; names what differs.
        """
        self._check(state)
        self.running = RunningTotals.from_state_dict(state["account"])
        self._loop_ends_epochs, self.notes = state["epochs_given"], list(state["notes"])
        columns = state["rows"]
        self.rows = [
            dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]

    def _check(self, state: dict[str, Any]) -> None:
        before = state["settings"]
        differing = [
            f"{key}={before.get(key)!r} (now {value!r})"
            for key, value in self.settings.items()
            if before.get(key) != value
        ]
        if differing:
            raise RefusedValue(
                f"loading a monitor's state: it was saved with {', '.join(differing)}; build the Monitor "
                "with the saved settings, because C̄ and L can't be compared across ways of measuring"
            )
