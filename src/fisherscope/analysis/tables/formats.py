"""Tables of text: aligned, Markdown, LaTeX."""


def aligned(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table in columns of their widest cell."""
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
    return [lines[0], "  ".join("-" * w for w in widths), *lines[1:]]


def markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    safe = [[cell.replace("|", "\\|") for cell in row] for row in [head, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in safe]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def latex(head: list[str], rows: list[list[str]]) -> str:
    """A LaTeX tabular; what LaTeX reads as commands is escaped."""
    lines = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in [head, *rows]]
    begin, end = f"\\begin{{tabular}}{{{'l' * len(head)}}}", r"\end{tabular}"
    return "\n".join([begin, r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", end])


def _escaped(cell: str) -> str:
    for special in ("\\", "&", "%", "#", "_", "$", "{", "}"):
        cell = cell.replace(special, r"\textbackslash " if special == "\\" else f"\\{special}")
    return cell.replace("±", r"$\pm$").replace("∅", r"$\emptyset$").replace("–", "--")
