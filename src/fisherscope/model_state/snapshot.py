"""What a model and its optimizer hold, captured and restored bit for bit."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim import Optimizer

from fisherscope.model_state.rng import preserve_random_state

_CONTAINERS = (list, dict, set, OrderedDict, defaultdict, deque)


class ModuleState:
    """Attributes of a model's modules, as they are now: modes, buffer slots, counters, caches.

    Restored are the attributes and what plain lists, dicts, sets and deques among them contain, not the
    values of tensors: those are for `TensorValues`.

    Args:
        model: The model; its submodules are included.

    Example:
        ```python
        import torch

        from fisherscope.model_state import ModuleState

        model = torch.nn.BatchNorm1d(3)
        state = ModuleState(model)
        state.copy_buffers()
        model.eval()
        assert not state.tensors()
        state.restore()
        assert model.training
        ```
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = list(model.modules())
        self._attributes = [_Attributes(module) for module in self._modules]

    def copy_buffers(self) -> None:
        """Put a copy in each buffer's place until `restore`; a shared buffer has a shared copy."""
        copies: dict[int, Tensor] = {}
        for module in self._modules:
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = copies.setdefault(id(buffer), buffer.clone())

    def tensors(self) -> list[Tensor]:
        """List the leaf tensors that are plain attributes: neither parameters nor buffers.

        Returns:
            The tensors themselves, of any shape and dtype, in the order of the modules.
        """
        values = (value for module in self._modules for value in vars(module).values())
        return [value for value in values if isinstance(value, Tensor) and value.is_leaf]

    def restore(self) -> None:
        """Set every attribute to what it was."""
        for attributes in self._attributes:
            attributes.restore()


class _Attributes:
    """The attributes of one module, and the contents of the plain containers among them."""

    def __init__(self, module: nn.Module) -> None:
        self._namespace = module.__dict__
        self._values = dict(self._namespace)
        self._contents = [
            (value, value.copy()) for value in self._values.values() if type(value) in _CONTAINERS
        ]

    def restore(self) -> None:
        self._namespace.clear()
        self._namespace.update(self._values)
        for container, contents in self._contents:
            container.clear()
            container.extend(contents) if isinstance(container, list | deque) else container.update(contents)


class TensorValues:
    """Copies of tensors' values and gradients, to be restored in place.

    Args:
        tensors: Parameters, buffers and others, of any shape and dtype; one that occurs twice is copied once.

    Example:
        ```python
        import torch

        from fisherscope.model_state import TensorValues

        weight = torch.zeros(3)
        values = TensorValues([weight])
        weight += 1
        values.restore()
        assert weight.tolist() == [0.0, 0.0, 0.0]
        ```

    Cost: a copy of each tensor and of its gradient.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._copies = [
            _TensorValue(tensor) for tensor in {id(tensor): tensor for tensor in tensors}.values()
        ]

    def restore(self) -> None:
        """Set values, gradients and `requires_grad` to what they were."""
        for value in self._copies:
            value.restore()


class _TensorValue:
    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._value = tensor, tensor.detach().clone()
        self._requires_grad = tensor.requires_grad
        self._gradient = tensor.grad if tensor.is_leaf else None
        self._gradient_value = None if self._gradient is None else self._gradient.detach().clone()

    def restore(self) -> None:
        # Through .data: the version counter stays, so a graph made before can still be differentiated.
        self._tensor.data.copy_(self._value)
        if self._gradient is not None and self._gradient_value is not None:
            self._gradient.data.copy_(self._gradient_value)
        if self._tensor.is_leaf:
            self._tensor.requires_grad_(self._requires_grad)
            self._tensor.grad = self._gradient


class OptimizerState:
    """State and settings of an optimizer's parameter groups, copied.

    Args:
        optimizer: Any torch optimizer.

    Example:
        ```python
        import torch

        from fisherscope.model_state import OptimizerState

        optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=0.1)
        state = OptimizerState(optimizer)
        optimizer.param_groups[0]["lr"] = 1.0
        state.restore()
        assert optimizer.param_groups[0]["lr"] == 0.1
        ```
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._state = {parameter: copy.deepcopy(inner) for parameter, inner in optimizer.state.items()}
        self._groups = [
            {key: copy.deepcopy(value) for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]

    def restore(self) -> None:
        """Set state and settings to what they were."""
        self._optimizer.state.clear()
        self._optimizer.state.update(self._state)
        for group, settings in zip(self._optimizer.param_groups, self._groups, strict=True):
            group.update(settings)


@contextmanager
def restored_after(model: nn.Module, optimizer: Optimizer | None = None) -> Iterator[None]:
    """Restore a model, its optimizer and random generators when the block ends.

    Also if an error ends it. Restored bit for bit: parameters, buffers, gradients, modes, `requires_grad`,
    plain attributes of modules, state and settings of the optimizer, and every generator that `RandomState`
    captures.

    Example:
        ```python
        import torch
        from fisherscope.model_state import restored_after

        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        before = model.weight.detach().clone()
        with restored_after(model, optimizer):
            model(torch.randn(8, 3)).square().mean().backward()
            optimizer.step()
        assert torch.equal(model.weight, before)
        ```

    Args:
        model: The model that the block trains.
        optimizer: Its optimizer, if the block steps one.

    Cost: a copy of all these tensors, on their device, while the block runs.
    """
    modules = ModuleState(model)
    optimizer_tensors = (
        [] if optimizer is None else [p for group in optimizer.param_groups for p in group["params"]]
    )
    tensors = TensorValues([*model.parameters(), *model.buffers(), *optimizer_tensors, *modules.tensors()])
    optimization = None if optimizer is None else OptimizerState(optimizer)
    with preserve_random_state():
        try:
            yield
        finally:
            modules.restore()
            tensors.restore()
            if optimization is not None:
                optimization.restore()
