"""Charts that answer to the pointer: the landscape with its epochs, and curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from fisherscope.analysis import AnalysisError, Landscape, landscape
from fisherscope.runs.reading import Runs

SCALE = "Viridis"
FRAME_MILLISECONDS = 400


def landscape_chart(runs: Runs, epochs: int = 12) -> Any:
    """The (C̄_K, L_K) plane as a plotly figure: a point a setting, coloured by its final metric.

    Args:
        runs: Of one task.
        epochs: At most so many stops of the slider that plays the travel of the runs.

    Raises:
        AnalysisError: There are too few settings for a landscape; it says what is there.
    """
    import plotly.graph_objects as go

    last = landscape(runs)
    stops = [(str(k), found) for k in _stops(runs, epochs) if (found := _at(runs, k)) is not None]
    stops.append(("end", last))
    figure = go.Figure(data=[*_contour(last), _points(last)])
    # The contour is of the end, so only the points move.
    figure.frames = [
        go.Frame(data=[_points(found)], name=name, traces=[len(figure.data) - 1]) for name, found in stops
    ]
    figure.update_layout(
        xaxis={"type": "log", "title": "C̄, mean condition number"},
        yaxis={"type": "log", "title": "L, energy"},
        sliders=[_slider([name for name, _ in stops])],
        updatemenus=[_buttons(len(figure.data))],
        margin={"l": 60, "r": 20, "t": 50, "b": 60},
    )
    return figure


def curves_chart(runs: Runs, metric: str) -> Any:
    """A metric against epochs, a line a setting (mean over seeds), as a plotly figure."""
    import plotly.graph_objects as go

    table = runs.epochs.join(runs.runs.select("run_id", "policy", "lr"), on="run_id", suffix="_config")
    rate = "lr_config" if "lr_config" in table.columns else "lr"
    means = table.group_by("policy", rate, "epoch").agg(pl.col(metric).mean()).sort("policy", rate, "epoch")
    figure = go.Figure()
    for (policy, lr), part in means.group_by("policy", rate, maintain_order=True):
        figure.add_scatter(x=part["epoch"].to_list(), y=part[metric].to_list(), name=f"{policy}-lr{lr:g}")
    figure.update_layout(
        xaxis={"title": "epoch"}, yaxis={"title": metric, "type": "log"},
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
    )  # fmt: skip
    return figure


def _stops(runs: Runs, count: int) -> list[int]:
    last = int(max(runs.epochs["epoch"].to_list(), default=0))
    return sorted({max(1, round(last * k / count)) for k in range(1, count)} - {last})


def _at(runs: Runs, epoch: int) -> Landscape | None:
    try:
        return landscape(runs, epoch=epoch)
    except AnalysisError:
        return None


def _points(found: Landscape) -> Any:
    import plotly.graph_objects as go

    rows = found.points.filter(pl.col("x").is_not_null() & pl.col("y").is_not_null())
    texts = [
        f"{row['setting']}<br>{found.metric} {_number(row['metric'])} ± {_number(row['metric_std'])}"
        f"<br>C̄ {_number(row['x'])}<br>L {_number(row['y'])}<br>{row['seeds']} seeds"
        for row in rows.to_dicts()
    ]
    colours = _logs(rows["metric"].to_numpy())
    low, high, ticks = _range(found)
    marker = {
        "size": [16 if best else 11 for best in rows["best"]],
        "color": colours.tolist(),
        "cmin": low,
        "cmax": high,
        "colorscale": SCALE,
        "reversescale": True,
        "colorbar": {"title": found.metric, "tickvals": ticks, "ticktext": [f"{10**t:.3g}" for t in ticks]},
        "line": {"width": 1, "color": "white"},
        "symbol": ["star" if best else "circle" for best in rows["best"]],
    }
    return go.Scatter(
        x=rows["x"].to_list(), y=rows["y"].to_list(), mode="markers", marker=marker, text=texts,
        hoverinfo="text", showlegend=False,
    )  # fmt: skip


def _contour(found: Landscape) -> list[Any]:
    import plotly.graph_objects as go

    try:
        x, y, value, _ = found.contour()
    except (AnalysisError, ValueError):
        return []
    low, high, _ = _range(found)
    shade = go.Contour(
        x=x, y=y, z=_logs(value), zmin=low, zmax=high, colorscale=SCALE, reversescale=True, opacity=0.45,
        showscale=False, hoverinfo="skip", name="surface",
    )  # fmt: skip
    return [shade]


def _logs(values: Any) -> np.ndarray[Any, Any]:
    """log10, with what is not positive at the smallest positive value."""
    numbers = np.asarray(values, dtype=float)
    positive = numbers[numbers > 0]
    logs: np.ndarray[Any, Any] = np.log10(np.maximum(numbers, positive.min() if len(positive) else 1.0))
    return logs


def _range(found: Landscape) -> tuple[float, float, list[float]]:
    """Lowest and highest log10 of the metric, and five ticks between."""
    logs = _logs(found.points["metric"].drop_nulls().to_numpy())
    low, high = float(logs.min()), float(logs.max())
    return low, high, np.linspace(low, high, 5).tolist()


def _slider(names: list[str]) -> dict[str, Any]:
    steps = [
        {
            "label": name,
            "method": "animate",
            "args": [
                [name],
                {"mode": "immediate", "frame": {"duration": FRAME_MILLISECONDS, "redraw": True}},
            ],
        }
        for name in names
    ]
    return {"active": len(names) - 1, "currentvalue": {"prefix": "epoch "}, "steps": steps, "pad": {"t": 40}}


def _buttons(traces: int) -> dict[str, Any]:
    def shown(surface: bool) -> list[bool]:
        return [*[surface] * (traces - 1), True]

    buttons = [
        {"label": "contour", "method": "restyle", "args": [{"visible": shown(True)}]},
        {"label": "points only", "method": "restyle", "args": [{"visible": shown(False)}]},
    ]
    return {"type": "buttons", "direction": "right", "x": 0, "y": 1.14, "xanchor": "left", "buttons": buttons}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
