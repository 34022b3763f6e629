"""Forwards of our own send nothing: collectives answer as if every rank held this rank's values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Done:
    """Work that is complete: what a collective with async_op=True returns."""

    def wait(self, *args: Any) -> bool:
        return True

    def is_completed(self) -> bool:
        return True

    def get_future(self) -> Any:
        future: Any = torch.futures.Future()
        future.set_result([])
        return future


def _all_reduce(
    tensor: Tensor, op: Any = dist.ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    if op == dist.ReduceOp.SUM:
        tensor.mul_(dist.get_world_size(group))
    return _Done() if async_op else None


def _all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Any:
    for part in tensor_list:
        part.copy_(tensor) if part.shape == tensor.shape else part.zero_()
    return _Done() if async_op else None


def _all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Any:
    ranks = dist.get_world_size(group)
    output_tensor.copy_(torch.cat([input_tensor.flatten()] * ranks).view_as(output_tensor))
    return _Done() if async_op else None


def _reduce_scatter_tensor(
    output: Tensor,
    input: Tensor,
    op: Any = dist.ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
) -> Any:
    ranks, rank = dist.get_world_size(group), dist.get_rank(group)
    output.copy_(input.flatten().chunk(ranks)[rank].view_as(output))
    if op == dist.ReduceOp.SUM:
        output.mul_(ranks)
    return _Done() if async_op else None


def _all_to_all_single(output: Tensor, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    if output.shape == input.shape:
        output.copy_(input)
    return _Done() if kwargs.get("async_op") else None


def _leave_unchanged(*args: Any, **kwargs: Any) -> Any:
    return _Done() if kwargs.get("async_op") else None


_LOCAL: dict[str, Callable[..., Any]] = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "all_gather_into_tensor": _all_gather_into_tensor,
    "_all_gather_base": _all_gather_into_tensor,
    "reduce_scatter_tensor": _reduce_scatter_tensor,
    "all_to_all_single": _all_to_all_single,
    "broadcast": _leave_unchanged,
    "barrier": _leave_unchanged,
}


@contextmanager
def quiet_collectives() -> Iterator[None]:
    """Run a block in which this process's collectives send nothing.

    A probe runs the model on a few samples where only this rank may need it: synchronised batch norm would
    wait for the other ranks, or answer them with the wrong tensor. Values stay of the right size and scale.
    """
    homes = (dist, dist.distributed_c10d)
    before = [(home, name, getattr(home, name)) for home in homes for name in _LOCAL if hasattr(home, name)]
    try:
        for home, name, _ in before:
            setattr(home, name, _LOCAL[name])
        yield
    finally:
        for home, name, function in before:
            setattr(home, name, function)
