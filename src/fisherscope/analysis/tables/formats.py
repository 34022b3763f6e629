"""Tables as Markdown and LaTeX."""


def markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    """Format a table as lines of Markdown."""
    safe = [[cell.replace("|", "\\|") for cell in row] for row in [head, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in safe]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def latex(head: list[str], rows: list[list[str]]) -> str:
    """Format a table as a LaTeX tabular, with LaTeX's special characters escaped."""
    lines = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in [head, *rows]]
    begin, end = f"\\begin{{tabular}}{{{'l' * len(head)}}}", r"\end{tabular}"
    return "\n".join([begin, r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", end])


def _escape(cell: str) -> str:
    for special in ("\\", "&", "%", "#", "_", "$", "{", "}"):
        cell = cell.replace(special, r"\textbackslash " if special == "\\" else f"\\{special}")
    return cell.replace("±", r"$\pm$").replace("∅", r"$\emptyset$").replace("–", "--")
