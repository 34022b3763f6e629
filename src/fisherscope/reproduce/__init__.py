"""Reproduce the paper: its experiments as recipes, run at full length or at a share of it."""

from fisherscope.reproduce.comparison import Compared, compare, comparison_rows
from fisherscope.reproduce.page import write_page
from fisherscope.reproduce.published_results import PublishedResult, paper_results
from fisherscope.reproduce.recipes import Recipe, describe_scale, recipe, recipe_names

__all__ = [
    "Compared",
    "PublishedResult",
    "Recipe",
    "compare",
    "comparison_rows",
    "describe_scale",
    "paper_results",
    "recipe",
    "recipe_names",
    "write_page",
]
