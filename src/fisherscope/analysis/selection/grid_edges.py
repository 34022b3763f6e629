"""Warn if a chosen setting lies at the end of an axis of the grid."""

from fisherscope.analysis.data.settings import FloatArray


def edges(batch_sizes: FloatArray, lrs: FloatArray, place: int) -> list[tuple[str, float, float]]:
    """Find the axes at whose end a setting lies.

    Args:
        batch_sizes: Shape (n,).
        lrs: Shape (n,).
        place: Index of the setting.

    Returns:
        For each such axis its name, the value there, and one beyond it to try.
    """
    ends = []
    for axis, values in (("batch size", batch_sizes), ("learning rate", lrs)):
        value, low, high = float(values[place]), values.min(), values.max()
        if low < high and value in (low, high) and (axis != "batch size" or value > 1):
            beyond = value * (2.0 if value == high else 0.5)
            ends.append((axis, value, float(int(beyond)) if axis == "batch size" else beyond))
    return ends


def edge_note(axis: str, value: float, beyond: float) -> str:
    """Warn that the best setting lies at the end of an axis; takes one of `edges`."""
    end = "largest" if beyond > value else "smallest"
    return f"The best lies on the grid's edge: {value:g} is the {end} {axis} tried; try {beyond:g}."
