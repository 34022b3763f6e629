"""Out of memory in the words of every allocator, and what is none of them."""

from __future__ import annotations

import pytest
import torch

from fisherscope.step_cost import is_out_of_memory

SAID = {
    "CUDA": "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 14.75 GiB",
    "HIP": "HIP out of memory. Tried to allocate 2.00 GiB",
    "XPU": "XPU out of memory. Tried to allocate 64.00 GiB",
    "Level Zero": "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "MPS": "MPS backend out of memory (MPS allocated: 18.05 GB, other allocations: 1.20 MB)",
    "MPS tensor": "Invalid buffer size: 24.00 GiB",
    "CPU": "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you",
    "Windows": "DefaultCPUAllocator: not enough memory: you tried to allocate 400000000000 bytes.",
    "cuDNN engine": "GET was unable to find an engine to execute this computation",
    "cuDNN engine, version 9": "FIND was unable to find an engine to execute this computation",
    "cuDNN": "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in",
    "cuDNN memory": "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuBLAS": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuSOLVER": "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "HPU": "FATAL ERROR :: MODULE:PT_DEVMEM Allocation failed for size::1073741824",
    "XLA": "RESOURCE_EXHAUSTED: Attempting to allocate 4.00G. That was not possible.",
}
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (8x5 and 4x3)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: device-side assert triggered"),
    ValueError("Expected more than 1 value per channel when training, got input size torch.Size([1, 4])"),
    KeyError("out of memory"),
    ZeroDivisionError(),
]


@pytest.mark.parametrize("words", SAID.values(), ids=SAID)
def test_every_allocator_s_words_are_known(words: str) -> None:
    assert is_out_of_memory(RuntimeError(words))


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_real_allocator_and_what_is_raised_from_it() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    around = ValueError("a step failed")
    around.__cause__ = refused.value
    assert is_out_of_memory(around)
    assert is_out_of_memory(MemoryError())
