"""The error of the analysis room."""


class AnalysisError(ValueError):
    """An analysis cannot be made of these runs.

    The text says what is there, what is missing and what to do.
    """
