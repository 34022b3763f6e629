"""fisherscope: what batch size and learning rate do to a training run, from its per-sample gradients.

Every public name is imported on first use, so that `import fisherscope` stays fast and free of torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "advise": "fisherscope.advice",
    "record_gram": "fisherscope.gram",
    "register_row_mover": "fisherscope.gram",
    "Monitor": "fisherscope.monitor",
    "examine": "fisherscope.verification",
    "spectrum": "fisherscope.eigenvalues",
    "instruments": "fisherscope.measures",
    "open_run": "fisherscope.runs",
    "load_runs": "fisherscope.runs",
    "DynamicBatchSampler": "fisherscope.sampler",
    "run_sweep": "fisherscope.sweep",
    "landscape": "fisherscope.analysis",
    "claims": "fisherscope.analysis",
    "navigate": "fisherscope.analysis",
    "select": "fisherscope.analysis",
    "choose": "fisherscope.search",
    "branch": "fisherscope.branching",
    "diagnose": "fisherscope.diagnosis",
    "export_runs": "fisherscope.analysis",
}
_ROOMS = ("policy", "gram", "measures", "runs", "diagnosis", "tasks", "samples", "integrations")

__all__ = [*_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"fisherscope.{name}")
    raise AttributeError(f"module 'fisherscope' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
