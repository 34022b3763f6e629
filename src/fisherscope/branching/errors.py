"""The error of branching."""


class BranchError(ValueError):
    """Say why a run cannot be branched, and what to do.

    Example:
        ```python
        from fisherscope.branching import BranchError

        try:
            fs.branch("digits/mlp", sizes=("1x", "2x"))
        except BranchError as error:
            print(error)
        ```
    """
