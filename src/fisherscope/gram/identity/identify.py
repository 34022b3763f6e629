"""Settle which sample each row of a forward's calls belongs to, before the backward pass begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fisherscope.gram.grouping import Grouping, Layout, packed_rows, rows_grouping
from fisherscope.gram.identity.codes import Codes, draw_codes
from fisherscope.gram.identity.cotangents import gradients_at
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.row_ids import MIXED, SILENT, RowReading, read_rows
from fisherscope.gram.interception.output_edge import OutputEdge
from fisherscope.gram.rules.recurrent import is_packed

DRAWS = 2
"""Draws of codes at the first reading of a kind of input: rows that mix samples evenly can pass for one in one draw."""


def read_calls(
    outputs: Sequence[tuple[Tensor, Grouping]],
    pending: Sequence[PendingCall],
    samples: int,
    draws: int,
    generator: torch.Generator,
    budget: int,
) -> dict[int, RowReading]:
    """Read the rows of each call by cotangents that carry the samples' codes.

    Args:
        outputs: The forward's outputs that hold rows of samples, and whose those are.
        pending: Its calls.
        samples: Number of samples of the forward.
        draws: How many draws of codes.
        generator: Of the recorder's own random numbers.
        budget: Bytes that the gradients of the calls' outputs may take at once; a single call may take more.

    Returns:
        By position in `pending`, what was read; calls that no cotangent reached are left out.

    Cost: draws + 1 backward passes that form no parameter's gradient, for each part of the calls within the budget.
    """
    readings: dict[int, RowReading] = {}
    if not outputs:
        return readings
    for part in _parts(pending, budget // (draws + 1)):
        readings |= _read_part(outputs, {k: pending[k] for k in part}, samples, draws, generator)
    return readings


def _parts(pending: Sequence[PendingCall], budget: int) -> list[list[int]]:
    """Calls in a row whose outputs fit in the budget together."""
    parts: list[list[int]] = []
    taken = 0
    for k, one in enumerate(pending):
        size = one.call.out_shape.numel() * one.call.out_dtype.itemsize
        if not parts or taken + size > budget:
            parts.append([])
            taken = 0
        parts[-1].append(k)
        taken += size
    return parts


def _read_part(
    outputs: Sequence[tuple[Tensor, Grouping]],
    pending: Mapping[int, PendingCall],
    samples: int,
    draws: int,
    generator: torch.Generator,
) -> dict[int, RowReading]:
    edges = [(k, number, edge) for k, call in pending.items() for number, edge in call.edges]
    if not edges:
        return {}
    tensors = [tensor for tensor, _ in outputs]
    unit = [_random_like(tensor, generator) for tensor in tensors]
    places = [edge.edge for _, _, edge in edges]
    plain = gradients_at(tensors, places, unit)
    coarse = any(g is not None and g.dtype in (torch.bfloat16, torch.float16) for g in plain)
    reading: dict[int, RowReading] = {}
    for _ in range(draws):
        codes = draw_codes(samples, generator, coarse)
        passes = []
        for scales in codes.scales:
            cotangents = [_coded(c, grouping, scales) for c, (_, grouping) in zip(unit, outputs, strict=True)]
            passes.append(gradients_at(tensors, places, cotangents))
        reading = _agreed(reading, _read_draw(edges, pending, plain, passes, codes))
    return reading


def _read_draw(
    edges: Sequence[tuple[int, int, OutputEdge]],
    pending: Mapping[int, PendingCall],
    plain: Sequence[Tensor | None],
    passes: Sequence[Sequence[Tensor | None]],
    codes: Codes,
) -> dict[int, RowReading]:
    """What one draw of codes says of each call: of its first output that a cotangent reached."""
    readings: dict[int, RowReading] = {}
    for at, (k, number, edge) in enumerate(edges):
        gradient = plain[at]
        if gradient is None or k in readings:
            continue
        scaled = [edge.of_output(values) for grads in passes if (values := grads[at]) is not None]
        reading = _read(pending[k], number, edge.of_output(gradient), scaled, codes)
        if reading is not None:
            readings[k] = reading
    return readings


def _agreed(before: dict[int, RowReading], now: dict[int, RowReading]) -> dict[int, RowReading]:
    """What two draws say alike; a row that they read differently is mixed."""
    if not before:
        return now
    out: dict[int, RowReading] = {}
    for k, reading in now.items():
        other = before.get(k)
        if other is None or (other.dim, other.lead) != (reading.dim, reading.lead):
            out[k] = RowReading(reading.dim, reading.lead, torch.full_like(reading.ids, MIXED))
        else:
            ids = torch.where(reading.ids == other.ids, reading.ids, MIXED)
            out[k] = RowReading(reading.dim, reading.lead, ids)
    return out


def _read(
    pending: PendingCall, number: int, unit: Tensor, scaled: list[Tensor], codes: Codes
) -> RowReading | None:
    """The rows of one call along the first dimension, or leading dimensions, along which each serves one sample."""
    if not bool(unit.any()) or len(scaled) < len(codes.scales):
        return None
    first = None
    for dim, lead in _candidates(pending, number, unit):
        reading = read_rows(unit, scaled, codes, dim, lead)
        if reading.clean:
            return reading
        first = first or reading
    return first


def _candidates(pending: PendingCall, number: int, unit: Tensor) -> list[tuple[int, int]]:
    """(dimension, leading dimensions) to try: what the plan says, then each dimension, then several together."""
    if pending.call.name.removesuffix("_cell") in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return [(_recurrent_dim(pending, number, unit), 1)]
    planned = [] if pending.expected is None else [(pending.expected.dim, pending.expected.lead)]
    single = [(dim, 1) for dim in range(unit.dim() - (unit.dim() > 1)) if dim == 0 or unit.shape[dim] > 1]
    return [
        *planned,
        *(one for one in single if one not in planned),
        *((0, lead) for lead in range(2, unit.dim())),
    ]


def _recurrent_dim(pending: PendingCall, number: int, unit: Tensor) -> int:
    """The dimension of the batch in a recurrent layer's output: packed data have rows, states (layer, batch, o)."""
    if pending.call.name.endswith("_cell") or unit.dim() == 2:
        return 0
    if number > 0:
        return 1
    return 0 if bool(pending.call.values.get("8")) else 1


def settle(pending: PendingCall, reading: RowReading | None, ids: Tensor, samples: int, several: bool) -> str:
    """Give a call its grouping in the step's samples: as read, else as planned.

    Args:
        pending: The call.
        reading: Of its rows; None where no cotangent reached it.
        ids: The step's sample of each of the forward's rows, (rows,).
        samples: Number of samples of the step.
        several: Whether the step's samples are others than the forward's rows.

    Returns:
        "as planned", "moved", "unread" (no cotangent reached it, the plan stands), "mixed" (rows serve several samples,
        the plan stands), or "refused".
    """
    expected = pending.expected
    if 0 in pending.call.out_shape:
        empty = pending.call.out_shape.index(0)
        pending.call.grouping = rows_grouping(torch.zeros(0, dtype=torch.long), empty, samples)
        return "as planned"
    if reading is not None and reading.clean:
        if pending.call.name.removesuffix("_cell") in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
            return _settle_recurrent(pending, reading, ids, samples)
        if expected is not None and _agrees(reading, expected):
            pending.call.grouping = _in_step(expected, len(reading.ids), reading.lead, ids, samples, several)
            return "as planned"
        pending.call.grouping = rows_grouping(_mapped(reading.ids, ids), reading.dim, samples, reading.lead)
        return "moved"
    if expected is None:
        why = "its rows serve several samples each" if reading is not None else "no row of it could be read"
        pending.call.refusal = f"{pending.problem}; {why}"
        return "refused"
    size = pending.call.out_shape[expected.dim] if len(pending.call.out_shape) else 0
    pending.call.grouping = _in_step(expected, size, 1, ids, samples, several)
    return "unread" if reading is None else "mixed"


def _agrees(reading: RowReading, expected: Grouping) -> bool:
    """Whether all rows that were read are where the plan says."""
    if (reading.dim, reading.lead) != (expected.dim, expected.lead):
        return False
    planned = expected.sample_of(len(reading.ids))
    return bool(((reading.ids == planned) | (reading.ids == SILENT)).all())


def _in_step(expected: Grouping, size: int, lead: int, ids: Tensor, samples: int, several: bool) -> Grouping:
    """A forward's grouping in the numbers of the step."""
    if not several:
        return expected
    if expected.rows is None and expected.layout.factors(size, expected.samples) is None:
        return expected
    return rows_grouping(_mapped(expected.sample_of(size), ids), expected.dim, samples, lead)


def _mapped(rows: Tensor, ids: Tensor) -> Tensor:
    """Rows' samples in the step's numbers; -1 stays."""
    return torch.where(rows >= 0, ids[rows.clamp_min(0)], -1)


def _settle_recurrent(pending: PendingCall, reading: RowReading, ids: Tensor, samples: int) -> str:
    """A recurrent layer's grouping by the sample of each place of its batch."""
    call = pending.call
    places = _mapped(reading.ids, ids)
    values = call.values
    if is_packed(values):
        sizes = values["1"]
        batch = int(sizes[0])
        if len(places) != batch:  # read off the packed data: the first step has every place
            places = places[:batch]
    if bool((places < 0).any()):
        if pending.expected is None:
            pending.call.refusal = f"{pending.problem}; some of its rows could not be read"
            return "refused"
        call.grouping = pending.expected
        return "unread"
    before = call.sorted_samples
    planned = torch.arange(len(places)) if before is None else before.detach().cpu()
    same = pending.expected is not None and bool((places == planned).all()) and samples == len(places)
    if same and not is_packed(values):
        call.grouping = pending.expected or Grouping(samples, Layout(0))
        return "as planned"
    call.sorted_samples = places
    if is_packed(values):
        call.grouping = rows_grouping(packed_rows(values["1"], places), 0, samples)
    else:
        call.grouping = rows_grouping(places, reading.dim, samples)
    return "as planned" if same else "moved"


def forward_rows(
    sources: Sequence[tuple[Tensor, Tensor]],
    target: Tensor,
    dim: int,
    samples: int,
    generator: torch.Generator,
) -> RowReading | None:
    """Which sample each row of a tensor is made of, from tensors upstream of it whose rows are known.

    Scaled tangents on the graph at hand: the derivative of a backward pass by its cotangent is a forward derivative.

    Args:
        sources: (tensor, sample of each element as a broadcastable index) upstream.
        target: The tensor to read.
        dim: Its dimension of rows.
        samples: Number of samples.
        generator: Of the recorder's own random numbers.

    Returns:
        The rows; None where the target does not depend on the sources.
    """
    probe = torch.zeros_like(target, requires_grad=True)
    tensors = [tensor for tensor, _ in sources]
    with torch.enable_grad():
        grads = torch.autograd.grad(
            target, tensors, probe, create_graph=True, retain_graph=True, allow_unused=True
        )
    used = [
        (grad, ids)
        for grad, (_, ids) in zip(grads, sources, strict=True)
        if grad is not None and grad.requires_grad
    ]
    if not used:
        return None
    units = [_random_like(grad, generator) for grad, _ in used]

    def tangent(scale: Callable[[Tensor], Any]) -> Tensor | None:
        weights = [unit * scale(ids).to(unit) for unit, (_, ids) in zip(units, used, strict=True)]
        (out,) = torch.autograd.grad(
            [grad for grad, _ in used], [probe], weights, retain_graph=True, allow_unused=True
        )
        return out

    unit = tangent(lambda ids: torch.ones(()))
    if unit is None or not bool(unit.any()):
        return None
    readings: dict[int, RowReading] = {}
    for _ in range(DRAWS):
        codes = draw_codes(samples, generator, unit.dtype in (torch.bfloat16, torch.float16))
        passes = []
        for scales in codes.scales:
            values = tangent(lambda ids, scales=scales: scales[ids])  # type: ignore[misc]
            assert values is not None, "as the unit tangent"
            passes.append(values.detach())
        readings = _agreed(readings, {0: read_rows(unit.detach(), passes, codes, dim)})
    return readings[0]


def element_samples(tensor: Tensor, grouping: Grouping) -> Tensor:
    """The sample of each row of a tensor, shaped to broadcast against it."""
    if grouping.lead > 1:
        ids = grouping.sample_of(tensor.shape[: grouping.lead].numel())
        return ids.reshape(*tensor.shape[: grouping.lead], *(1,) * (tensor.dim() - grouping.lead))
    ids = grouping.sample_of(tensor.shape[grouping.dim])
    return ids.reshape([-1 if axis == grouping.dim else 1 for axis in range(tensor.dim())])


def _coded(cotangent: Tensor, grouping: Grouping, scales: Tensor) -> Tensor:
    return cotangent * scales[element_samples(cotangent, grouping)].to(cotangent)


def _random_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    real = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
    return real.to(device=tensor.device, dtype=tensor.dtype)
