"""What a measured step takes of memory, seen from outside: peaks of processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STEP = """
import ctypes
import sys
give_back = ctypes.CDLL(None).malloc_trim
import torch
import fisherscope as fs
from pathlib import Path

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

torch.set_num_threads(1)
model = torch.nn.Linear(1500, 1500, bias=False)  # 8 samples' gradients held whole: 72 MB
x = torch.randn(8, 250, 1500)
with fs.record_gram(model, batch=0, memory_budget=1 << 20):  # the first reads whose each row is
    model(x).square().mean().backward()
model.weight.grad = None
give_back(0)  # what was freed goes back, so that it is not there to be used again
Path("/proc/self/clear_refs").write_text("5")  # the peak starts over
before = status("VmRSS")
with fs.record_gram(model, batch=0, memory_budget=int(sys.argv[1])):
    model(x).square().mean().backward()
print(status("VmHWM") - before)
"""


def peak(budget: int) -> int:
    """Bytes by which a measured step raises the peak of a fresh process."""
    # Blocks of a megabyte go back to the system when they are freed: glibc's own threshold moves with what a
    # process has freed, and the peak with it, by up to 40 MB from one run to the next.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(budget)],
        capture_output=True, text=True, check=True, timeout=120, env=environment,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_memory_budget_bounds_what_a_step_takes() -> None:
    """A block of 72 MB is formed where the budget allows it, and not where it does not."""
    saved = peak(256 << 20) - peak(8 << 20)
    assert saved > 32 << 20  # 42 were seen


def test_a_recorder_leaves_the_allocator_as_it_is() -> None:
    """`keep_freed_blocks` is a setting of the whole process that stays: only programs ask for it."""
    code = STEP.replace("fs.record_gram", "watched").replace(
        "import fisherscope as fs",
        "import ctypes\nimport fisherscope as fs\nfrom fisherscope.gram import malloc\n"
        "def refuse(*_): raise AssertionError('mallopt')\n"
        "malloc.ctypes.CDLL = refuse\nwatched = fs.record_gram",
    )
    subprocess.run([sys.executable, "-c", code, str(1 << 24)], check=True, capture_output=True, timeout=120)
