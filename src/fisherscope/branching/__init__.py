"""Branch a training from a checkpoint at several batch sizes, and fit the critical batch size."""

from fisherscope.branching.branches import BranchListener, branch
from fisherscope.branching.errors import BranchError
from fisherscope.branching.plan import BranchPlan
from fisherscope.branching.result import BranchResult

__all__ = ["BranchError", "BranchListener", "BranchPlan", "BranchResult", "branch"]
