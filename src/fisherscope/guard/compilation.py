"""Keep the code around a user's step out of what `torch.compile` traces.

In a compiled step Dynamo looks at every Python function that is called, ours too: it would compile our
bookkeeping anew whenever a counter changes. Its rules name files that it leaves to Python; there is no public
way to add some.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOMS = ("gram", "guard", "measures", "model_state", "monitor", "runs", "eigenvalues.py", "integrations")
"""What runs inside a user's step. Models of `tasks` are not among them: users compile those."""


def leave_to_python() -> None:
    """Tell Dynamo, where it is loaded, that the files of these rooms are not to be traced."""
    rules: Any = sys.modules.get("torch._dynamo.trace_rules")
    folder = Path(__file__).parents[1]
    first = (folder / ROOMS[0]).as_posix()
    if rules is None or first in rules.SKIP_DIRS:
        return
    with suppress(AttributeError):  # a torch whose rules have other names traces our files: slower, not wrong
        rules.SKIP_DIRS.extend((folder / room).as_posix() for room in ROOMS)
        rules._recompile_re()


@contextmanager
def run_eagerly() -> Iterator[None]:
    """Run compiled functions eagerly in a block, also a block within a compiled function."""
    import torch

    hooks: Any = torch._C._dynamo.eval_frame
    before = hooks.get_eval_frame_callback()
    if before in (None, False):
        with torch.compiler.set_stance("force_eager"):
            yield
        return
    hooks.set_eval_frame(None)  # torch refuses another stance within a compiled region
    try:
        with torch.compiler.set_stance("force_eager"):  # of compiled functions that the block calls
            yield
    finally:
        hooks.set_eval_frame(before)
