"""Per-sample gradients of one parameter, held in the cheapest exact form, and their inner products.

`Columns` are the n per-sample gradients of a parameter of shape (r, q) (all but the first dimension
flattened). They are never held whole: `block` forms the gradients of some rows of the parameter, for
all samples, and products run over such blocks within a memory budget.
"""

from fisherscope.gram.columns.computed import Computed
from fisherscope.gram.columns.contract import Arithmetic, Columns, Products
from fisherscope.gram.columns.dense import Dense, Equal
from fisherscope.gram.columns.multiplying import rounding, symmetric_product
from fisherscope.gram.columns.outer import BiasColumns, Outer
from fisherscope.gram.columns.rows import Rows
from fisherscope.gram.columns.sums import Sum, Tied, joined

__all__ = [
    "Arithmetic",
    "BiasColumns",
    "Columns",
    "Computed",
    "Dense",
    "Equal",
    "Outer",
    "Products",
    "Rows",
    "Sum",
    "Tied",
    "joined",
    "rounding",
    "symmetric_product",
]
