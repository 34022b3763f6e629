"""Render a whole HTML document: everything inside, nothing fetched, no script but its own.

Why no chart library: docs/decisions/027-own-charts-in-the-report.md.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

ASSETS = files("fisherscope.report").joinpath("assets")


@cache
def _templates() -> Environment:
    """Return the templates of the pages; every value in them is escaped unless marked safe there."""
    return Environment(
        loader=PackageLoader("fisherscope.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def asset(name: str) -> str:
    """Return the text of a script or style sheet of the pages."""
    return ASSETS.joinpath(name).read_text(encoding="utf-8")


def document(
    template: str,
    title: str,
    scripts: Sequence[str],
    *,
    fetches: bool = False,
    images: bool = False,
    styles: Sequence[str] = ("page.css",),
    **values: object,
) -> str:
    """Render a page that a browser shows without any other file.

    Its content policy lets the page's own scripts and style alone run, so that text from a run stays text.

    Args:
        template: File in `templates`; it extends `document.html`.
        title: Title of the page, plain text.
        scripts: Names of assets (`draw.js`) and texts of scripts, in the order in which they run.
        fetches: Whether the page may send requests to the server that it came from.
        images: Whether the page holds images, as data: addresses.
        styles: Assets with the page's style sheets.
        values: Names that the template uses.

    Returns:
        The page.
    """
    texts = [asset(name) if name.endswith(".js") else name for name in scripts]
    style = "".join(asset(name) for name in styles)
    allowed = " ".join(f"'{_hash(text)}'" for text in texts) or "'none'"
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src {allowed}"
    policy += "; connect-src 'self'" if fetches else ""
    policy += "; img-src data:" if images else ""
    page = _templates().get_template(template)
    return page.render(title=title, policy=policy, style=style, scripts=texts, **values)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
