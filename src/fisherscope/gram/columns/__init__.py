"""Per-sample gradients of one parameter, held in the cheapest exact form, and their inner products.

`Columns` are the n per-sample gradients of a parameter of shape (r, q) (all but the first dimension
flattened). They are never held whole: `block` forms the gradients of some rows of the parameter, for
all samples, and products run over such blocks within a memory budget.
"""

from fisherscope.gram.columns.dense import Dense, Equal
from fisherscope.gram.columns.interface import Columns, ProductOptions, Products
from fisherscope.gram.columns.lazy import LazyColumns
from fisherscope.gram.columns.matmul import rounding, symmetric_product
from fisherscope.gram.columns.outer import BiasColumns, Outer
from fisherscope.gram.columns.sparse_rows import SparseRows
from fisherscope.gram.columns.tied import Sum, TiedColumns, join_columns

__all__ = [
    "BiasColumns",
    "Columns",
    "Dense",
    "Equal",
    "LazyColumns",
    "Outer",
    "ProductOptions",
    "Products",
    "SparseRows",
    "Sum",
    "TiedColumns",
    "join_columns",
    "rounding",
    "symmetric_product",
]
