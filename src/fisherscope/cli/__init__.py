"""Run the command line: one module per verb, imported when it is called."""

import signal
import sys
import threading
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fisherscope.cli.plain_stream import PlainStream, raw_stream
from fisherscope.plain_text import one_line, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

GROUPS = {
    "Your training": {
        "advise": "Which batch sizes are worth your time, within a minute.",
        "choose": "Which batch size and learning rate to use, within a budget of epochs.",
        "branch": "Measure the critical batch size by branches from a checkpoint.",
        "doctor": "Check the Gram on your own model and batch, and time it.",
        "report": "Write an HTML page about a directory of runs.",
        "watch": "Show a live page of runs.",
        "runs": "List runs with their status and last measures.",
        "diagnose": "List what is wrong or wasted in a run, and what to try.",
        "spikes": "List steps whose gradient left its band, and what is to blame.",
    },
    "Study": {
        "train": "Train one run and record it.",
        "sweep": "Train a grid of runs in separate processes.",
        "beacons": "Summarise finished runs into a file for the beacon policy.",
        "select": "Predict which setting ends best, from early epochs.",
        "claims": "Test the paper's claims on your runs.",
        "landscape": "List where settings lie in the plane of C̄ and L, as text or CSV.",
        "navigate": "Say how to move batch size and learning rate towards a reference run.",
        "figure": "Draw the paper's figures from your runs.",
        "table": "Print Table 1 for any runs.",
        "export": "Write runs to one small file that every analysis reads.",
        "times": "Measure seconds a step at the batch sizes of recorded runs.",
        "reproduce": "Run an experiment of the paper, from its data to its page.",
        "bench": "Time a measured step against a plain one and other tools.",
        "demo": "Train a small grid on the embedded digits and report on it.",
    },
}
USAGE, FAILED = 2, 1
INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C, as shells have it; after SIGTERM it is 143."""


def main() -> None:
    r"""Run one verb; report a user's mistake in one message, with exit code 2.

    What is printed is text: control characters of names, reasons and tasks are written as \uXXXX.
    """
    sys.stdout, sys.stderr = PlainStream(sys.stdout), PlainStream(sys.stderr)
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:  # while it loads, or while it only reads
        print("fisherscope: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    finally:
        sys.stdout, sys.stderr = raw_stream(sys.stdout), raw_stream(sys.stderr)


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        raise SystemExit(0 if arguments else USAGE)
    if arguments[0] in ("-V", "--version"):
        from fisherscope import __version__

        print(f"fisherscope {__version__}")
        return
    verb = arguments[0]
    if verb not in verbs():
        _fail(f"unknown verb {short_repr(verb)}{_suggestion(verb)}; see fisherscope --help")
    _call(verb, arguments[1:])


def exit_interrupted(number: int) -> "NoReturn":
    """End with the exit code of a signal that stopped the work before its end.

    The work is saved: the same signal, delivered again, must not replace the exit code. Python resets its own
    handlers while it ends, and leaves ignored signals ignored.

    Raises:
        SystemExit: Always.
    """
    if threading.current_thread() is threading.main_thread():
        for repeated in (signal.SIGINT, signal.SIGTERM):
            signal.signal(repeated, signal.SIG_IGN)
    raise SystemExit(128 + number)


def verbs() -> dict[str, str]:
    """Return the summaries of the installed verbs, by name."""
    here = {path.stem for path in Path(__file__).parent.glob("*.py")}
    return {verb: text for group in GROUPS.values() for verb, text in group.items() if verb in here}


def overview() -> str:
    """Return what `fisherscope --help` prints."""
    lines = ["fisherscope: what batch size and learning rate do to a training run, while it runs.", ""]
    names = verbs()
    for title, group in GROUPS.items():
        summaries = [f"  {verb:<9} {text}" for verb, text in group.items() if verb in names]
        lines += [f"{title}:", *summaries, ""] if summaries else []
    return "\n".join([*lines, "fisherscope VERB --help explains each."])


def _call(verb: str, arguments: list[str]) -> None:
    import os
    import warnings

    import typer

    warnings.showwarning = _print_warning
    function = getattr(import_module(f"fisherscope.cli.{verb}"), verb)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name=verb)(_without_abort(function))
    try:
        app(arguments, prog_name=f"fisherscope {verb}")
    except BrokenPipeError:  # the reader of our output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except Exception as error:
        if os.environ.get("FISHERSCOPE_DEBUG") or not _is_user_error(error):
            raise
        _fail(_message(verb, error))


def _without_abort(function: "Callable[..., None]") -> "Callable[..., None]":
    """Let Ctrl-C pass as SystemExit; click would turn KeyboardInterrupt into exit code 1."""

    @wraps(function)
    def run(*args: object, **options: object) -> None:
        try:
            function(*args, **options)
        except KeyboardInterrupt:
            print("fisherscope: interrupted", file=sys.stderr)
            raise SystemExit(INTERRUPTED) from None

    return run


def _message(verb: str, error: Exception) -> str:
    """Return an error's text; explain an unexplained one of the operating system."""
    if isinstance(error, OSError) and error.filename is not None and str(error).startswith("[Errno"):
        return f"{verb}: {error.filename}: {error.strerror}; check that it exists, and its permissions"
    return str(error)


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line, without its place in the code, and only once."""
    text = f"fisherscope: {one_line(str(message))}"
    if text not in _warnings:
        _warnings.append(text)
        print(text, file=sys.stderr)


_warnings: list[str] = []


def _is_user_error(error: Exception) -> bool:
    """Return whether the user can fix the error, so that a traceback would only hide its text."""
    return isinstance(error, ValueError | OSError | MemoryError) or type(error).__module__.startswith(
        "fisherscope"
    )


def _suggestion(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, list(verbs()), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _fail(text: str) -> None:
    print(f"fisherscope: {text}", file=sys.stderr)
    raise SystemExit(USAGE)
