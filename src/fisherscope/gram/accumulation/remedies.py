"""What can be done about a parameter that can't be measured: by the case, only what helps there."""

from __future__ import annotations

from dataclasses import dataclass

PER_LOSS = (
    "measure with record_gram(model, semantics='per_loss') and record.backward(losses), one loss a sample"
)
SECOND_ORDER = (
    "The loss holds a derivative of the model (torch.autograd.grad(…, create_graph=True), as of a gradient "
    f"penalty), and no call shows how the derivative of that splits: {PER_LOSS}."
)
FUNCTIONAL = (
    "Its calls ran inside torch.func (vmap, jvp, grad), where they can't be seen: call the layers on the "
    f"whole batch, or {PER_LOSS}."
)
OWN_FUNCTION = (
    "A function of your own that averages inside shows one number for all samples: call the layer and the "
    "loss apart (F.cross_entropy(layer(x), y)), "
)


@dataclass
class StepKinds:
    """What a step was seen to do that decides which remedy helps.

    Args:
        second_order: It differentiated the model and keeps the graph of that.
        functional: Calls ran inside a transform of `torch.func`.
    """

    second_order: bool = False
    functional: bool = False


def remedies(text: str, leaf: str, step: StepKinds) -> str:
    """Return what helps, as sentences.

    Args:
        text: Why the parameter is left out.
        leaf: Its name.
        step: What the step does.

    Returns:
        The sentences, without those that can't help in this case.
    """
    leave = f"leave the parameter out (parameters=lambda name, p: name != {leaf!r}, or strict=False)"
    unseen = "did not see" in text
    if unseen and step.functional:
        return FUNCTIONAL
    if unseen and step.second_order:
        return SECOND_ORDER
    if "`Function " in text:
        return f"{OWN_FUNCTION}or {leave}."
    if any(words in text for words in ("serve several samples", "mixes the samples", "parts can't be told")):
        return f"Remedies: {PER_LOSS}; or {leave}."
    if "register_row_mover" in text:
        return f"Or {leave}."
    return (
        "Remedies: say where the samples lie (batch=…, or sample_of=… for flattened rows); "
        f"{leave}; or take semantics='per_loss'."
    )
