"""Run a function on several real processes that form a gloo group, and collect what each returned."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _work(rank: int, function: Callable[..., Any], ranks: int, folder: str, args: tuple[Any, ...]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    try:
        result = function(rank, ranks, *args)
    except BaseException:  # noqa: BLE001  (the parent raises it)
        result = {"traceback": traceback.format_exc()}
    torch.save(result, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def run_on_ranks(function: Callable[..., Any], ranks: int, folder: Path, *args: Any) -> list[Any]:
    """Call `function(rank, ranks, *args)` in that many processes.

    Args:
        function: Of a module, so that another process can import it.
        ranks: How many.
        folder: An empty one.
        args: Passed on.

    Returns:
        What each rank returned, in rank order.

    Raises:
        AssertionError: A rank raised; its traceback.
    """
    mp.spawn(_work, (function, ranks, str(folder), args), nprocs=ranks)
    results = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(ranks)]
    for rank, result in enumerate(results):
        assert not (isinstance(result, dict) and "traceback" in result), f"rank {rank}: {result['traceback']}"
    return results
