"""The error of the analysis room."""


class AnalysisError(ValueError):
    """The runs cannot answer what was asked; the text says what is there, what is missing and what to do."""
