"""Recorders around a step: nested, reused, broken off, under DDP."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.cases.gram_steps import (
    mlp,
    samples,
    step,
)
from torch import nn

import fisherscope as fs
from fisherscope.gram import GramError


def test_under_ddp_it_is_this_ranks_gram_and_says_so(tmp_path: Any) -> None:
    x, y = samples()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        plain, model = mlp().eval(), mlp().eval()
        wrapped = nn.parallel.DistributedDataParallel(model)
        with fs.record_gram(wrapped) as record:
            step(wrapped, x, y)
        with fs.record_gram(plain) as alone:
            step(plain, x, y)
    finally:
        dist.destroy_process_group()
    assert torch.equal(record.gram, alone.gram)
    assert any("this rank's samples" in note for note in record.notes)


def test_nested_and_reused_recorders() -> None:
    x, y = samples()
    model = mlp()
    measuring = fs.record_gram(model)
    with measuring as record:
        with pytest.raises(GramError, match="still open"), fs.record_gram(model):
            pass
        step(model, x, y)
    assert record.status == "ok"
    with pytest.raises(GramError, match="used before"), measuring:
        pass


def test_an_exception_inside_passes_and_leaves_nothing_behind() -> None:
    x, _ = samples()
    model = mlp()

    def fails(m: nn.Module) -> None:
        m(x)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), fs.record_gram(model) as record:
        fails(model)
    assert "ended with ZeroDivisionError" in record.status
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    apply = torch.autograd.Function.apply
    assert "fisherscope" not in str(getattr(apply, "__func__", apply))  # a slot of C from torch 2.14 on
    with fs.record_gram(model) as again:
        step(model, *samples())
    assert again.status == "ok"
