"""LSTM, GRU and plain recurrent layers and cells: the recurrence again, all samples at once.

The recurrence is run step by step with a zero added to every gate; the gradients of those zeros are
the gates' gradients d, and each weight's columns are Σ_t d[t] a[t]ᵀ, an affine call over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fisherscope.gram.columns import Columns, Dense, Outer
from fisherscope.gram.errors import NotSplittableError
from fisherscope.gram.grouping import Grouping, Layout, rows_grouping
from fisherscope.gram.rules.registry import Call, Rule, register

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_TOLERANCE = 1e3  # roundings by which the recurrence, run again, may miss what was recorded


@dataclass
class DirectionRun:
    """One direction of one layer, run again: inputs of its weights, zeros added to its gates."""

    weights: list[str]  # argument names: w_ih, w_hh, then biases, then the projection
    inputs: Tensor  # (t, b, i)
    states: Tensor  # (t, b, o) hidden states before each step
    at_input: Tensor  # (t, b, gates) zeros
    at_state: Tensor
    cells: Tensor | None = None  # (t, b, hidden) before the projection
    at_projection: Tensor | None = None


@dataclass
class RecurrentArgs:
    """A recurrent call's arguments, whatever its form (padded, packed, a single cell's)."""

    kind: str
    inputs: Tensor  # (t, b, i)
    lengths: Tensor | None  # (b,) for packed inputs
    batch_sizes: Tensor | None
    initial: list[Tensor]
    weights: dict[str, Tensor]
    biased: bool
    layers: int
    dropout: float
    directions: int
    batch_first: bool
    cell: bool = False
    chained: bool = False  # the new cell state is itself an output, so its gradient holds h's share of it
    runs: list[DirectionRun] = field(default_factory=list)


def recurrent(call: Call, gradient: Any) -> dict[str, Columns]:
    """Form the columns of every weight from the gradients of all outputs (None: unused).

    Returns:
        Columns by argument name.

    Raises:
        NotSplittableError: the recurrence, run again, gives other outputs than were recorded.
    """
    form = _form(call)
    with torch.enable_grad():
        outputs = _run(form, call.random_state)
    assert call.outputs is not None
    for mine, recorded in zip(outputs, call.outputs, strict=True):
        miss = float((mine - recorded).norm())
        if not miss <= _TOLERANCE * torch.finfo(recorded.dtype).eps * (float(recorded.norm()) + 1):
            raise NotSplittableError(
                "run again it gives other outputs (a backend with its own dropout masks?)"
            )
    used = [(out, g) for out, g in zip(outputs, gradient, strict=True) if g is not None]
    zeros = [z for run in form.runs for z in (run.at_input, run.at_state, run.at_projection) if z is not None]
    grads = torch.autograd.grad([o for o, _ in used], zeros, [g for _, g in used], allow_unused=True)
    by_zero = {id(z): torch.zeros_like(z) if g is None else g for z, g in zip(zeros, grads, strict=True)}
    grouping = _time_major(call, form)
    columns: dict[str, Columns] = {}
    for run in form.runs:
        columns |= _columns(call, form, run, by_zero, grouping)
    return columns


def _columns(
    call: Call, form: RecurrentArgs, run: DirectionRun, grads: dict[int, Tensor], grouping: Grouping
) -> dict[str, Columns]:
    def rows(tensor: Tensor) -> Tensor:  # (t, b, f) → (n, positions, f)
        split = grouping.samples_first(tensor)
        return split.reshape(split.shape[0], -1, tensor.shape[-1])

    d_input, d_state = rows(grads[id(run.at_input)]), rows(grads[id(run.at_state)])
    shapes = {name: form.weights[name].shape for name in run.weights}
    names = run.weights
    columns: dict[str, Columns] = {
        names[0]: Outer(d_input, rows(run.inputs.detach()), shapes[names[0]]),
        names[1]: Outer(d_state, rows(run.states.detach()), shapes[names[1]]),
    }
    if form.biased:
        columns[names[2]] = Dense(d_input.sum(1), shapes[names[2]])
        columns[names[3]] = Dense(d_state.sum(1), shapes[names[3]])
    if run.cells is not None and run.at_projection is not None:
        last = names[-1]
        columns[last] = Outer(rows(grads[id(run.at_projection)]), rows(run.cells.detach()), shapes[last])
    return {name: value for name, value in columns.items() if name in call.parameters}


def _form(call: Call) -> RecurrentArgs:
    kind = call.name.removesuffix("_cell")
    values = call.values
    if call.name.endswith("_cell"):
        initial = values["1"] if isinstance(values["1"], list | tuple) else [values["1"]]
        weights = {name: _weight(call, name) for name in ("2", "3", "4", "5") if values.get(name) is not None}
        biased = "4" in weights
        state = [h.unsqueeze(0) for h in initial]
        x = values["0"].detach().unsqueeze(0)
        return RecurrentArgs(
            kind,
            x,
            None,
            None,
            state,
            weights,
            biased,
            1,
            0.0,
            1,
            False,
            cell=True,
            chained=call.chained_outputs,
        )
    packed = is_packed(values)
    shift = 1 if packed else 0
    hx, flat = values[str(1 + shift)], values[str(2 + shift)]
    names = [f"{2 + shift}.{k}" for k in range(len(flat))]
    biased, layers, dropout, training, both = (values[str(k + shift)] for k in range(3, 8))
    batch_first = bool(values["8"]) if not packed else False
    inputs, lengths, batch_sizes = values["0"].detach(), None, None
    if packed:
        batch_sizes = values["1"]
        inputs, lengths = _unpack(inputs, batch_sizes)
    elif batch_first:
        inputs = inputs.transpose(0, 1)
    initial = list(hx) if isinstance(hx, list | tuple) else [hx]
    return RecurrentArgs(
        kind, inputs, lengths, batch_sizes, [h.detach() for h in initial],
        {name: _weight(call, name) for name in names}, bool(biased), int(layers),
        float(dropout) if training else 0.0, 2 if both else 1, batch_first,
    )  # fmt: skip


def _weight(call: Call, name: str) -> Tensor:
    head, _, index = name.partition(".")
    value = call.values[head]
    weight: Tensor = value[int(index)] if index else value
    return weight.detach()


def is_packed(values: dict[str, Any]) -> bool:
    """Whether a recurrent call's second argument is the batch sizes of a packed sequence."""
    second = values.get("1")
    return isinstance(second, Tensor) and second.dim() == 1 and not second.is_floating_point()


def _unpack(data: Tensor, batch_sizes: Tensor) -> tuple[Tensor, Tensor]:
    """(t, b, i) padded with zeros, and the lengths (b,), samples in packed order."""
    steps, b = len(batch_sizes), int(batch_sizes[0])
    padded = data.new_zeros(steps, b, data.shape[-1])
    padded[_packed_mask(batch_sizes)] = data
    lengths = (batch_sizes.unsqueeze(1) > torch.arange(b)).sum(0)
    return padded, lengths


def _packed_mask(batch_sizes: Tensor) -> Tensor:
    """(t, b) True where a packed sequence has a row; rows lie in this order."""
    return batch_sizes.unsqueeze(1) > torch.arange(int(batch_sizes[0]))


def _time_major(call: Call, form: RecurrentArgs) -> Grouping:
    """How samples lie along dimension 1 of (t, b, …)."""
    if form.batch_sizes is None and call.sorted_samples is not None:
        return rows_grouping(call.sorted_samples, 1, call.samples)
    if form.batch_sizes is None:
        if form.inputs.shape[1] == call.samples:
            return Grouping(call.samples, Layout(1))
        return Grouping(call.samples, Layout(1, call.grouping.layout.outer, call.grouping.layout.inner))
    b = int(form.batch_sizes[0])
    order = torch.arange(b) if call.sorted_samples is None else call.sorted_samples
    return rows_grouping(order, 1, call.samples)


def _run(form: RecurrentArgs, state: Tensor | None) -> list[Tensor]:
    """Return the outputs as the call gives them, from the recurrence run step by step."""
    x, hidden, cell = form.inputs, [], []
    names, per = list(form.weights), 2 + 2 * form.biased
    projected = form.kind == "lstm" and len(names) == form.layers * form.directions * (per + 1)
    per += projected
    with torch.random.fork_rng(devices=[], enabled=state is not None):
        if state is not None:
            torch.set_rng_state(state)
        for layer in range(form.layers):
            outs = []
            for direction in range(form.directions):
                place = layer * form.directions + direction
                chosen = names[place * per : (place + 1) * per]
                out, h, c = _direction(form, x, place, chosen, projected, backwards=direction == 1)
                outs.append(out)
                hidden.append(h)
                cell.append(c)
            x = torch.cat(outs, -1)
            if form.dropout and layer + 1 < form.layers:
                x = _apply_dropout(form, x)
    if form.cell:
        return [hidden[0], cell[0]] if form.kind == "lstm" else [hidden[0]]
    out = x
    if form.batch_sizes is not None:
        out = x[_packed_mask(form.batch_sizes)]
    elif form.batch_first:
        out = x.transpose(0, 1)
    return [out, torch.stack(hidden), *([torch.stack(cell)] if form.kind == "lstm" else [])]


def _apply_dropout(form: RecurrentArgs, x: Tensor) -> Tensor:
    """Dropout between layers as the backend draws it: over the rows in the order they lie."""
    if form.batch_sizes is None:
        return torch.dropout(x, form.dropout, True)
    places = _packed_mask(form.batch_sizes)
    out = torch.zeros_like(x)
    return out.masked_scatter(places.unsqueeze(-1), torch.dropout(x[places], form.dropout, True))


def _direction(
    form: RecurrentArgs, x: Tensor, place: int, names: Sequence[str], projected: bool, backwards: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """One direction of one layer: outputs (t, b, o), last hidden and cell state."""
    w = [form.weights[name] for name in names]
    steps, b = x.shape[:2]
    gates = _GATES[form.kind] * (w[0].shape[0] // _GATES[form.kind])
    at_input, at_state = (x.new_zeros(steps, b, gates).requires_grad_() for _ in range(2))
    at_projection = x.new_zeros(steps, b, w[-1].shape[0]).requires_grad_() if projected else None
    h, c = form.initial[0][place], form.initial[-1][place]
    from_input = F.linear(x, w[0], w[2] if form.biased else None) + at_input
    order = range(steps - 1, -1, -1) if backwards else range(steps)
    outs, states, cells = [x] * steps, [h] * steps, [h] * steps
    for t in order:
        states[t] = h
        from_state = F.linear(h, w[1], w[3] if form.biased else None) + at_state[t]
        new_h, new_c = _step(form.kind, from_input[t], from_state, h, c, form.chained)
        if at_projection is not None:
            cells[t] = new_h
            new_h = F.linear(new_h, w[-1]) + at_projection[t]
        if form.lengths is not None:
            alive = (t < form.lengths).unsqueeze(-1)
            new_h, new_c = torch.where(alive, new_h, h), torch.where(alive, new_c, c)
        h, c = new_h, new_c
        outs[t] = h
    run = DirectionRun(list(names), x, torch.stack(states), at_input, at_state)
    if projected:
        run.cells, run.at_projection = torch.stack(cells), at_projection
    form.runs.append(run)
    return torch.stack(outs), h, c


def _step(kind: str, x: Tensor, s: Tensor, h: Tensor, c: Tensor, chained: bool) -> tuple[Tensor, Tensor]:
    """(hidden, cell) after one step, from the gates' shares of input and state."""
    if kind == "lstm":
        i, f, g, o = (x + s).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c.detach() if chained else c), c
    if kind == "gru":
        (xr, xz, xn), (sr, sz, sn) = x.chunk(3, -1), s.chunk(3, -1)
        z = torch.sigmoid(xz + sz)
        return (1 - z) * torch.tanh(xn + torch.sigmoid(xr + sr) * sn) + z * h, c
    return (torch.tanh(x + s) if kind == "rnn_tanh" else torch.relu(x + s)), c


register(
    "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    Rule("recurrent", recurrent, draws=True, keeps_outputs=True),
)
