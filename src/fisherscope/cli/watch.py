"""Run `fisherscope watch DIR`: show a live page of runs."""

from pathlib import Path
from typing import Annotated

import typer


def watch(
    directory: Annotated[Path, typer.Argument(help="Directory of runs.", metavar="DIR")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.")] = 0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Name, besides localhost, by which a browser reaches the page; repeatable."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show runs in a browser while they are being written; Ctrl-C stops it."""
    from fisherscope.report.live_server import server

    with server(directory, port, allowed_hosts=allow_host or ()) as serving:
        address = f"http://{serving.server_address[0]!s}:{serving.server_address[1]}/"
        print(f"Watching {directory} at {address} (this machine only); Ctrl-C stops it.", flush=True)
        if open_browser:
            import webbrowser

            webbrowser.open(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()
