"""Settle which sample each row of a forward's calls belongs to, before the backward pass begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fisherscope.gram.grouping import Grouping, Layout, packed_rows, rows_grouping
from fisherscope.gram.identity.codes import Codes, draw_codes
from fisherscope.gram.identity.cotangents import gradients_at
from fisherscope.gram.identity.pending import PendingCall
from fisherscope.gram.identity.row_ids import SILENT, RowReading, merge_readings, read_rows
from fisherscope.gram.identity.tangents import element_samples, random_like
from fisherscope.gram.interception.output_edge import OutputEdge
from fisherscope.gram.rules.recurrent import is_packed


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

    Cost: draws + 1 backward passes that form no parameter's gradient, for each part of the calls within
    the budget.
    """
    readings: dict[int, RowReading] = {}
    if not outputs:
        return readings
    for part in _parts(pending, budget // (draws + 1)):
        readings |= _read_part(outputs, {k: pending[k] for k in part}, samples, draws, generator)
    return readings


def _parts(pending: Sequence[PendingCall], budget: int) -> list[list[int]]:
    """Split calls into runs whose outputs fit in the budget together."""
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
    ones = torch.ones(samples)
    unit = [scale_by_codes(random_like(tensor, generator), of, ones) for tensor, of in outputs]
    places = [edge.edge for _, _, edge in edges]
    plain = gradients_at(tensors, places, unit)
    coarse = any(g is not None and g.dtype in (torch.bfloat16, torch.float16) for g in plain)
    reading: dict[int, RowReading] = {}
    for _ in range(draws):
        codes = draw_codes(samples, generator, coarse)
        passes = []
        for scales in codes.scales:
            cotangents = [
                scale_by_codes(c, grouping, scales) for c, (_, grouping) in zip(unit, outputs, strict=True)
            ]
            passes.append(gradients_at(tensors, places, cotangents))
        reading = merge_readings(reading, _read_draw(edges, pending, plain, passes, codes))
    return reading


def _read_draw(
    edges: Sequence[tuple[int, int, OutputEdge]],
    pending: Mapping[int, PendingCall],
    plain: Sequence[Tensor | None],
    passes: Sequence[Sequence[Tensor | None]],
    codes: Codes,
) -> dict[int, RowReading]:
    """Read each call by one draw of codes, at its first output that a cotangent reached."""
    readings: dict[int, RowReading] = {}
    for at, (k, number, edge) in enumerate(edges):
        gradient = plain[at]
        if gradient is None or k in readings:
            continue
        scaled = [edge.of_output(values) for grads in passes if (values := grads[at]) is not None]
        reading = read_call(pending[k], number, edge.of_output(gradient), scaled, codes)
        if reading is not None:
            readings[k] = reading
    return readings


def read_call(
    pending: PendingCall, number: int, unit: Tensor, scaled: list[Tensor], codes: Codes
) -> RowReading | None:
    """Read a call's rows along the first dimensions along which each serves one sample.

    Args:
        pending: The call.
        number: Which of its outputs.
        unit: The gradient of that output.
        scaled: For each pass of the codes, its gradient for cotangents scaled by them.
        codes: The codes.

    Returns:
        The reading, or None if nothing can be read.
    """
    if len(scaled) < len(codes.scales) or not bool(unit.any()):
        return None
    first = None
    for dim, lead in _candidates(pending, number, unit):
        reading = read_rows(unit, scaled, codes, dim, lead)
        if reading.clean:
            return reading
        first = first or reading
    return first


def _candidates(pending: PendingCall, number: int, unit: Tensor) -> list[tuple[int, int]]:
    """List the (dimension, number of leading dimensions) to try.

    What the plan says, then each dimension, then several together.

    Returns:
        The plan's first, then each dimension, then several together.
    """
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
    """Return the dimension of the batch in a recurrent layer's output.

    Packed data have rows, states (layer, batch, o).

    Returns:
        The dimension.
    """
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
        "as planned", "moved", "unread" (no cotangent reached it, the plan stands), "mixed" (rows serve
        several samples,         the plan stands), or "refused".
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
        pending.call.grouping = rows_grouping(
            _step_samples(reading.ids, ids), reading.dim, samples, reading.lead
        )
        return "moved"
    if expected is None:
        why = "its rows serve several samples each" if reading is not None else "no row of it could be read"
        pending.call.refusal = f"{pending.problem}; {why}"
        if pending.call.out_shape:  # for a gradient that is zero, which no sample has a part of
            pending.call.grouping = rows_grouping(torch.full(pending.call.out_shape[:1], -1), 0, samples)
        return "refused"
    shape = pending.call.out_shape
    size = expected.size if expected.rows is not None else shape[expected.dim] if len(shape) else 0
    pending.call.grouping = _in_step(expected, size, expected.lead, ids, samples, several)
    return "unread" if reading is None else "mixed"


def _agrees(reading: RowReading, expected: Grouping) -> bool:
    """Whether all rows that were read are where the plan says."""
    if (reading.dim, reading.lead) != (expected.dim, expected.lead):
        return False
    planned = expected.sample_of(len(reading.ids))
    agrees = (reading.ids == planned) | (reading.ids == SILENT)
    return bool((agrees if reading.weak is None else agrees | reading.weak).all())


def _in_step(expected: Grouping, size: int, lead: int, ids: Tensor, samples: int, several: bool) -> Grouping:
    """Return a forward's grouping in the numbers of the step."""
    if not several:
        return expected
    if expected.rows is None and expected.layout.factors(size, expected.samples) is None:
        return expected
    return rows_grouping(_step_samples(expected.sample_of(size), ids), expected.dim, samples, lead)


def _step_samples(rows: Tensor, ids: Tensor) -> Tensor:
    """Rows' samples in the step's numbers; -1 stays."""
    return torch.where(rows >= 0, ids[rows.clamp_min(0)], -1)


def _settle_recurrent(pending: PendingCall, reading: RowReading, ids: Tensor, samples: int) -> str:
    """Settle a recurrent layer's grouping by the sample of each place of its batch."""
    call = pending.call
    places = _step_samples(reading.ids, ids)
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


def scale_by_codes(cotangent: Tensor, grouping: Grouping, scales: Tensor) -> Tensor:
    """Multiply each sample's part of a cotangent by its code, and that of no sample by 0."""
    ids = element_samples(cotangent, grouping)
    return cotangent * torch.where(ids >= 0, scales[ids.clamp_min(0)], 0.0).to(cotangent)
