"""F̃_P = Jᵀ P⁻¹ J by a dense P⁻¹ for each parameter; imports nothing of the package."""

from __future__ import annotations

import numpy as np
import torch


def sample_gradients(model, loss_of, samples):
    """Per parameter name, (n, p) float64: gradients of each sample's own loss."""
    rows = {name: [] for name, _ in model.named_parameters()}
    for i in range(samples):
        names, parameters = zip(*model.named_parameters(), strict=True)
        grads = torch.autograd.grad(loss_of(i), parameters, allow_unused=True)
        for name, parameter, grad in zip(names, parameters, grads, strict=True):
            grad = torch.zeros_like(parameter) if grad is None else grad
            rows[name].append(grad.detach().double().reshape(-1).numpy())
    return {name: np.stack(r) for name, r in rows.items()}


def inverse(optimizer, parameter, floor):
    """Dense P⁻¹ (p, p) of one parameter; None where the optimizer does not have it."""
    largest = max(float(g["lr"]) for g in optimizer.param_groups)
    for group in optimizer.param_groups:
        if any(p is parameter for p in group["params"]):
            break
    else:
        return None
    rate = float(group["lr"]) / largest
    state = {
        k: np.asarray(v.detach().double())
        for k, v in optimizer.state[parameter].items()
        if torch.is_tensor(v)
    }
    kind, size = type(optimizer).__name__, parameter.numel()

    def raised(square):
        root = np.sqrt(np.maximum(square, 0.0))
        return np.maximum(root, floor * np.sqrt(np.mean(root**2)))

    if kind in ("Adam", "AdamW", "NAdam"):
        v = state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"].reshape(-1)
        unbiased = v / (1 - float(group["betas"][1]) ** float(state["step"]))
        return np.diag(rate / (raised(unbiased) + group["eps"]))
    if kind == "RMSprop":
        v = state["square_avg"].reshape(-1)
        v = v - state["grad_avg"].reshape(-1) ** 2 if group["centered"] else v
        return np.diag(rate / (raised(v) + group["eps"]))
    if kind == "Adagrad":
        rate /= 1 + float(state["step"]) * group["lr_decay"]
        return np.diag(rate / (raised(state["sum"].reshape(-1)) + group["eps"]))
    if kind == "Adafactor":
        rate *= max(group["eps"][1], float(np.sqrt(np.mean(parameter.detach().double().numpy() ** 2))))
        if "variance" in state and state["variance"].shape == tuple(parameter.shape):
            return np.diag(rate / raised(state["variance"].reshape(-1)))
        v = state["row_var"] @ state["col_var"] / state["row_var"].mean(-2, keepdims=True)
        return np.diag(rate / raised(v.reshape(-1)))
    if kind == "Muon":
        momentum = state["momentum_buffer"]
        r, q = momentum.shape
        left, values, right = np.linalg.svd(momentum, full_matrices=False)
        kept = values > 1e-3 * values.max()  # of a pseudo-inverse
        left, values, right = left[:, kept], values[kept], right[kept]
        adjust = (
            0.2 * np.sqrt(max(r, q)) if group["adjust_lr_fn"] == "match_rms_adamw" else np.sqrt(max(1, r / q))
        )
        side = (left / values) @ left.T if r <= q else (right.T / values) @ right
        return rate * adjust * (np.kron(side, np.eye(q)) if r <= q else np.kron(np.eye(r), side))
    return np.eye(size) * (rate if kind == "SGD" else 1.0)


def metric_gram(model, optimizer, gradients, floor):
    """Σ over parameters of J_p P_p⁻¹ J_pᵀ, (n, n)."""
    total = 0.0
    for name, parameter in model.named_parameters():
        own = inverse(optimizer, parameter, floor)
        if own is not None:
            total = total + gradients[name] @ own @ gradients[name].T
    return total
