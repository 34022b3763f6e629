"""Models whose parameters are spread over the ranks (FSDP2): the whole parameters, and quiet forwards."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fisherscope.gram.errors import GramError
from fisherscope.gram.interception.model_parts import ModelParts
from fisherscope.gram.interception.torch_private import quiet_fsdp_hooks
from fisherscope.gram.ranks.process_group import Ranks, RanksError

_known: WeakKeyDictionary[nn.Module, tuple[dict[str, Tensor], dict[str, Tensor]]] = WeakKeyDictionary()
"""Whole and sharded parameters of each model, by name: both last as long as it does."""


def refuse_unknown_shards(parts: ModelParts) -> None:
    """Refuse a model whose parameters are spread in a way that is not understood, before it is touched.

    Raises:
        GramError: Names the way, and what to do.
    """
    for module in parts.modules:
        if type(module).__name__ == "FullyShardedDataParallel":
            raise GramError(
                "record_gram(model): received a FullyShardedDataParallel module (FSDP1), which replaces its "
                "parameters while it runs: whose gradient a sample's is can't be told. Wrap the model with "
                "torch.distributed.fsdp.fully_shard (FSDP2), which is measured exactly, or with "
                "DistributedDataParallel"
            )
    if "torch.distributed.tensor" not in sys.modules:
        return
    spread = {name: p for name, p in parts.parameters.items() if _is_spread(p)}
    owned = {id(p) for module in _fsdp_modules(parts.modules) for p in module.parameters()}
    for name, parameter in spread.items():
        if id(parameter) not in owned:
            raise GramError(
                f"record_gram(model): parameter {name!r} is a DTensor of tensor parallelism "
                f"({tuple(parameter.placements)}): its gradients are spread over the ranks in a way that is "  # type: ignore[attr-defined]
                "not measured yet. Leave such modules out with parameters=…, or measure a run without it"
            )


def _is_spread(parameter: Tensor) -> bool:
    return "torch.distributed.tensor" in sys.modules and type(parameter.data).__name__ == "DTensor"


def _fsdp_modules(modules: Iterable[nn.Module]) -> list[Any]:
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", None)
    return [] if kind is None else [module for module in modules if isinstance(module, kind)]


class ShardedModel:
    """A model under `fully_shard`: its whole parameters by name, and when they are there.

    Every rank must do the same in the same order: gathering is a collective of the model's own groups.

    Args:
        model: With at least one module of `fully_shard`.
        ranks: The ranks that train together.

    Raises:
        RanksError: Not all ranks are ready to measure this step; nothing was gathered.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        self.model, self.ranks = model, ranks
        self.modules = _fsdp_modules(model.modules())
        standings = ranks.agree(0)
        if any(standings):
            raise RanksError(f"measuring over {ranks.size} ranks: not all of them are ready for this step")
        if model not in _known:
            sharded: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if _is_spread(p)}
            _known[model] = (self._collect(), sharded)
        whole, self._sharded = _known[model]
        self.parameters = {name: p for name, p in whole.items() if p.requires_grad}

    @classmethod
    def of(cls, model: nn.Module, parts: ModelParts, ranks: Ranks | None) -> ShardedModel | None:
        """Describe a model that is sharded.

        Args:
            model: The model.
            parts: What it is made of.
            ranks: The ranks that train together, or None.

        Returns:
            The description; None for a model that is not sharded.

        Raises:
            GramError: It is sharded in a way that can't be measured.
        """
        refuse_unknown_shards(parts)
        if not _fsdp_modules(parts.modules):
            return None
        if ranks is None:
            raise GramError(
                "record_gram(model, group=False): the model's parameters are spread over the ranks "
                "(fully_shard), so that one rank can't be measured alone; leave `group` out"
            )
        return cls(model, ranks)

    def _collect(self) -> dict[str, Tensor]:
        """Gather the modules one after another; a whole parameter's identity lasts."""
        whole: dict[str, Tensor] = {}
        for module in self.modules:
            with _gather_parameters([module]):
                now = self.model.named_parameters()
                whole.update((name, p) for name, p in now if not _is_spread(p) and name not in whole)
        names = [name for name, _ in self.model.named_parameters()]
        return {name: whole[name] for name in names if name in whole}

    @contextmanager
    def gather_parameters(self) -> Iterator[None]:
        """Hold all parameters whole, and the model's own hooks quiet, for forwards of ours. A collective.

        Cost: one all-gather of the parameters that are sharded now, and their memory in the block.
        """
        with _gather_parameters(self.modules), quiet_fsdp_hooks(self.modules):
            yield

    def gradient(self, name: str) -> Tensor | None:
        """Return what the step has reduced for a parameter so far: a shard, or None."""
        holder = self._sharded.get(name, self.parameters[name])
        return holder.grad

    def square_sums(self, names: list[str]) -> dict[str, Tensor]:
        """Square the length of each parameter's sum of all ranks' columns, from the reduced gradients.

        Returns:
            |Σ columns|² by name. A collective of one number a parameter.
        """
        out = {}
        for name in names:
            gradient = self.gradient(name)
            if gradient is None:
                out[name] = torch.zeros((), dtype=torch.float64)
                continue
            length: Any = torch.linalg.vector_norm(gradient.double())
            whole = length.full_tensor() if hasattr(length, "full_tensor") else length
            out[name] = whole.square().cpu() * self.ranks.size**2
        return out


@contextmanager
def _gather_parameters(modules: list[Any]) -> Iterator[None]:
    """Gather the parameters of FSDP modules that are sharded now, and shard them again afterwards."""
    with ExitStack() as stack:
        for module in modules:
            if _is_sharded_now(module):
                module.unshard()
                stack.callback(module.reshard)
        yield


def _is_sharded_now(module: nn.Module) -> bool:
    """Tell whether the parameters that this module's own `fully_shard` manages are sharded."""
    inner = {
        id(p) for child in _fsdp_modules(module.modules()) if child is not module for p in child.parameters()
    }
    return any(_is_spread(p) for p in module.parameters() if id(p) not in inner)
