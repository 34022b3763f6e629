"""Watch each step's gradient norm, and take apart the steps where it leaves its band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fisherscope.gram import GramError, GramRecord
from fisherscope.guard.step_guard import Guard
from fisherscope.monitor.spikes.blame import ReplayError, layer_rows, micro_batch_rows, replay, sample_rows
from fisherscope.monitor.spikes.forward_tape import ForwardTape
from fisherscope.monitor.spikes.norm_band import NormBand
from fisherscope.runs.config_values import json_value

_MEMORY = 0.95
"""Share of a parameter's usual |g|² that a step leaves as it is."""
_MOST = 1000
"""Spikes that are kept."""
Spike = dict[str, Any]
"""One spike, as JSON values: see docs/how-to/spikes.md."""


class SpikeWatch:
    """Watch the gradients of a model and record spikes.

    Args:
        model: What the loop calls.
        options: Arguments of `record_gram` for the replay.
    """

    def __init__(self, model: nn.Module, options: Mapping[str, Any]) -> None:
        self.spikes: list[Spike] = []
        self._model = model
        self._options = {k: v for k, v in options.items() if k in ("reduction", "batch", "memory_budget")}
        self._band, self._usual = NormBand(), dict[str, float]()
        self._tape: ForwardTape | None = None
        self._late: tuple[Tensor, list[str], dict[str, Any]] | None = None  # norms not read yet

    def begin(self, guard: Guard) -> Spike | None:
        """Begin a step: keep its forward passes. On a GPU, read the norms of the step before.

        Args:
            guard: Of the step.

        Returns:
            A spike of the step before; None if there was none.
        """
        spike = None
        if self._late is not None:
            (norms, names, step), self._late = self._late, None
            spike = self._judge(norms.tolist(), names, step, None, late=True)
        self._tape = ForwardTape(self._model, guard)
        return spike

    def end(
        self, step: Mapping[str, Any], ids: Sequence[Any] | None, loss_scale: float, sample_of: Any,
        record: GramRecord | None,
    ) -> Spike | None:  # fmt: skip
        """End a step: look at its gradient, before the optimizer steps.

        Args:
            step: Where the run stands: step, epoch, samples, batch_size.
            ids: Ids of the samples in batch order, or None.
            loss_scale: What the gradients are scaled by.
            sample_of: As `record_gram` takes it.
            record: Of the step, if it was measured.

        Returns:
            The spike; None if there was none, or if the norms are read a step later (on a GPU).

        Cost: one pass over the gradients; in a step that is a spike, a measured step and a copy of the model.
        """
        names, norms = [], []
        for name, parameter in self._model.named_parameters():
            gradient = parameter.grad
            if gradient is not None:
                values = gradient.coalesce().values() if gradient.is_sparse else gradient
                names.append(name)
                norms.append(torch.linalg.vector_norm(values.detach()).float())
        if not norms:
            return None
        together = torch.stack([norm.to(norms[0].device) for norm in norms]) / loss_scale
        about = {**step, "ids": ids, "loss_scale": loss_scale, "sample_of": sample_of}
        if together.device.type != "cpu":
            self._late = together, names, about
            return None
        return self._judge(together.tolist(), names, about, record, late=False)

    def _judge(
        self, norms: list[float], names: list[str], about: dict[str, Any], record: GramRecord | None,
        late: bool,
    ) -> Spike | None:  # fmt: skip
        """Compare a step's norm with the band; take the step apart if it leaves it."""
        norm = math.sqrt(math.fsum(n * n for n in norms)) if all(map(math.isfinite, norms)) else math.nan
        squares = {name: n * n for name, n in zip(names, norms, strict=True)}
        spike = self._spike(norm, squares, about, record, late) if self._band.is_spike(norm) else None
        self._band.add(norm)
        if spike is None and math.isfinite(norm):
            for name, square in squares.items():
                self._usual[name] = square + _MEMORY * (self._usual.get(name, square) - square)
        return spike

    def _spike(
        self, norm: float, squares: dict[str, float], about: dict[str, Any], record: GramRecord | None,
        late: bool,
    ) -> Spike:  # fmt: skip
        ids, options = about.pop("ids"), {"loss_scale": about.pop("loss_scale")}
        options["sample_of"] = about.pop("sample_of")
        spike: Spike = {**about, "norm": norm, "usual_norm": self._band.usual, "limit": self._band.limit}
        spike |= {"late": late, "layers": layer_rows(squares, self._usual)}
        try:
            tape = self._tape
            if tape is None:
                raise ReplayError("its forward passes were not kept")
            if record is None or not record.measured or record.ranks > 1:
                record = replay(self._model, tape, {**self._options, **options, "group": False})
            gram = record.gram
            named = ids if ids is not None and len(ids) == len(gram) else range(len(gram))
            sizes = [call.samples for call in tape.calls]
            spike |= {"blamed_samples": sample_rows(gram, list(named))}
            spike |= {
                "micro_batches": micro_batch_rows(gram, sizes),
                "blame": _blame(spike, record, norm, late),
            }
        except (ReplayError, GramError) as error:
            spike |= {"blamed_samples": [], "micro_batches": [], "blame": f"not replayed: {error}"}
        except Exception as error:  # noqa: BLE001  (a user's forward; the spike is kept)
            spike["blamed_samples"], spike["micro_batches"] = [], []
            spike["blame"] = f"not replayed: {type(error).__name__}: {error}"
        spike = {key: json_value(value) for key, value in spike.items()}
        self.spikes = [*self.spikes, spike][-_MOST:]
        return spike

    def state_dict(self) -> dict[str, Any]:
        """Return everything, as JSON values."""
        return {"band": self._band.state_dict(), "usual": dict(self._usual), "spikes": list(self.spikes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        self._band, self._usual = NormBand(**state["band"]), dict(state["usual"])
        self.spikes, self._late, self._tape = list(state["spikes"]), None, None


def _blame(spike: Spike, record: GramRecord, norm: float, late: bool) -> str:
    """Say in words how far the replay explains the step's gradient."""
    if late:
        return "replayed at the weights after the step"
    own = math.sqrt(max(record.mean_square, 0.0))
    if math.isfinite(norm) and abs(own - norm) > 0.01 * norm:
        return f"replayed, but its gradient has norm {own:.3g}: part of the step's came from elsewhere"
    return "replayed"
