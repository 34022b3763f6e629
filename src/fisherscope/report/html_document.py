"""A whole HTML document: everything inside, nothing fetched, no script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from fisherscope.report.html_text import safe

ASSETS = files("fisherscope.report").joinpath("assets")
VIEW = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def asset(name: str) -> str:
    """The text of a file that the pages are made of."""
    return ASSETS.joinpath(name).read_text(encoding="utf-8")


def document(title: str, body: str, scripts: Sequence[str], *, fetches: bool = False) -> str:
    """A page that a browser shows without any other file.

    Its policy lets the page's own scripts and style alone run, so that text from a run stays text.

    Args:
        title: Plain text.
        body: HTML.
        scripts: Names of assets and texts of scripts, in the order in which they run.
        fetches: Whether it may ask the server that it came from.
    """
    texts = [asset(name) if name.endswith(".js") else name for name in scripts]
    style = asset("page.css")
    allowed = " ".join(f"'{_hash(text)}'" for text in texts) or "'none'"
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src {allowed}"
    policy += "; connect-src 'self'" if fetches else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">{VIEW}'
        f"<title>{safe(title)}</title><style>{style}</style></head>"
        f'<body>{body}<div id="tip" hidden></div>'
        + "".join(f"<script>{text}</script>" for text in texts)
        + "</body></html>"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
