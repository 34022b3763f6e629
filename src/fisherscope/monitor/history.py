"""What a monitored run has come to: its rows, its sums, and how it was measured; saved as one value."""

from typing import Any

from fisherscope.monitor.measurement import Row
from fisherscope.monitor.running_totals import Counters, RunningTotals


class History:
    """The rows of a run so far, and what they and the steps between them add up to.

    Args:
        settings: How the monitor measures; rows of other ways are never added to these.
        groups: Parameter groups of the optimizer.
    """

    def __init__(self, settings: dict[str, Any], groups: int) -> None:
        self.settings = settings
        self.account = RunningTotals(Counters([0.0] * groups))
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.epochs_given = False  # the loop says where epochs end

    def note(self, texts: list[str]) -> None:
        """What the reader of the run should know, each once."""
        self.notes += [text for text in texts if text not in self.notes]

    def end_epoch(self) -> None:
        """The loop says that an epoch ended."""
        self.epochs_given = True
        self.account.counters.end_epoch()

    def end_epoch_by_size(self) -> None:
        """Where the loop does not say so, an epoch ends when its samples are as many as the data set's."""
        count, size = self.account.counters, self.settings["dataset_size"]
        if not self.epochs_given and size and count.epoch_samples >= size:
            count.end_epoch()

    def totals(self) -> Row:
        """The running measures as of now, the steps since the last measurement counted in L_K."""
        count = self.account.counters
        axes = {"step": count.steps, "samples": count.samples, "lr_sum": count.lr_sum}
        return {**axes, "batch_size": count.batch_size, **self.account.totals()}

    def state_dict(self) -> dict[str, Any]:
        """Everything, as JSON values; rows by column."""
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        return {
            "settings": dict(self.settings),
            "account": self.account.state_dict(),
            "epochs_given": self.epochs_given,
            "notes": list(self.notes),
            "rows": {key: [row.get(key) for row in self.rows] for key in keys},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: The state is of a monitor that measures differently; names what differs.
        """
        self._check(state)
        self.account = RunningTotals.restored(state["account"])
        self.epochs_given, self.notes = state["epochs_given"], list(state["notes"])
        columns = state["rows"]
        self.rows = [
            dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]

    def _check(self, state: dict[str, Any]) -> None:
        saved = state["settings"]
        differing = [
            f"{key}={saved.get(key)!r} (now {mine!r})"
            for key, mine in self.settings.items()
            if saved.get(key) != mine
        ]
        if differing:
            raise ValueError(
                f"loading a monitor's state: it was saved with {', '.join(differing)}; build the Monitor "
                "with the saved settings, for C̄ and L are not compared across ways of measuring"
            )
