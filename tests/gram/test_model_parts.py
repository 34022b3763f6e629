"""The one walk over a model against torch's own walks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fisherscope.gram.interception.model_parts import list_parts


class Renamed(nn.Module):
    """Lists its parameters by names of its own, as wrappers do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        return self.inner.named_parameters(*args, **kwargs)


def drawn_model(draw: random.Random) -> nn.Module:
    """Draw a tree of modules in which modules and parameters are shared, missing, or None."""
    modules: list[nn.Module] = []
    parameters = [nn.Parameter(torch.zeros(k + 1)) for k in range(4)]
    for _ in range(draw.randint(1, 12)):
        module = nn.Module()
        for k in range(draw.randint(0, 3)):
            module.register_parameter(f"p{k}", draw.choice([None, *parameters, nn.Parameter(torch.ones(2))]))
        for k in range(draw.randint(0, 3)):
            if modules:
                module.add_module(f"m{k}", draw.choice([None, *modules]))
        modules.append(draw.choice([Renamed, lambda one: one])(module) if draw.random() < 0.1 else module)
    return modules[-1]


@pytest.mark.parametrize("seed", range(200))
def test_parts_are_those_that_torch_lists(seed: int) -> None:
    """The same objects under the same names, in the same order."""
    model = drawn_model(random.Random(seed))
    parts = list_parts(model)
    assert [id(module) for module in parts.modules] == [id(module) for module in model.modules()]
    expected: dict[str, Tensor] = dict(model.named_parameters())
    assert list(parts.parameters) == list(expected)
    assert all(parts.parameters[name] is parameter for name, parameter in expected.items())


def test_a_method_set_on_the_object_is_asked() -> None:
    """Frameworks replace `named_parameters` of one object."""
    model = nn.Linear(2, 2)
    own = {"other": nn.Parameter(torch.zeros(1))}
    model.named_parameters = lambda *args, **kwargs: iter(own.items())  # type: ignore[method-assign]
    assert list_parts(model).parameters == own
