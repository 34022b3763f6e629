"""The command line: one verb a module, imported when it is called."""

import sys
from importlib import import_module
from pathlib import Path

GROUPS = {
    "Your training": {
        "advise": "Which batch sizes are worth your time, within a minute.",
        "choose": "Which batch size and rate to use, within a budget of epochs.",
        "doctor": "Prove the Gram on your own model and batch, and what it costs.",
        "report": "One HTML page of a directory of runs.",
        "watch": "A live page of runs.",
        "runs": "List runs and how they stand.",
    },
    "Study": {
        "train": "Train one run and record it.",
        "sweep": "Train a grid of runs in separate processes.",
        "beacons": "Growth, region and cost of finished runs, to steer others by.",
        "select": "Which setting will end well, from early epochs.",
        "claims": "The paper's claims, tested on your runs.",
        "figure": "The paper's figures from your runs.",
        "table": "Table 1 for any runs.",
        "export": "Runs as one small file that every analysis reads.",
        "bench": "What measuring costs, side by side with other tools.",
        "demo": "A small landscape on the embedded digits, with its report.",
    },
}
USAGE, FAILED = 2, 1


def main() -> None:
    """Run one verb; a user's mistake is one message and exit code 2."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        raise SystemExit(0 if arguments else USAGE)
    if arguments[0] in ("-V", "--version"):
        from fisherscope import __version__

        print(f"fisherscope {__version__}")
        return
    verb = arguments[0]
    if verb not in verbs():
        _fail(f"there is no verb {verb!r}{_near(verb)}; see fisherscope --help")
    _call(verb, arguments[1:])


def verbs() -> dict[str, str]:
    """Summaries of the verbs that are there, by name."""
    here = {path.stem for path in Path(__file__).parent.glob("*.py")}
    return {verb: text for group in GROUPS.values() for verb, text in group.items() if verb in here}


def overview() -> str:
    """What `fisherscope --help` prints."""
    lines = ["fisherscope: what batch size and learning rate do to a training run, while it runs.", ""]
    known = verbs()
    for title, group in GROUPS.items():
        shown = [f"  {verb:<8} {text}" for verb, text in group.items() if verb in known]
        lines += [f"{title}:", *shown, ""] if shown else []
    return "\n".join([*lines, "fisherscope VERB --help explains each."])


def _call(verb: str, arguments: list[str]) -> None:
    import os
    import warnings

    import typer

    warnings.showwarning = _warned
    function = getattr(import_module(f"fisherscope.cli.{verb}"), verb)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name=verb)(function)
    try:
        app(arguments, prog_name=f"fisherscope {verb}")
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except Exception as error:
        if os.environ.get("FISHERSCOPE_DEBUG") or not _users(error):
            raise
        _fail(_text(verb, error))


def _text(verb: str, error: Exception) -> str:
    """The error's own text; of one of the system that nobody has explained, what it is about in words."""
    if isinstance(error, OSError) and error.filename is not None and str(error).startswith("[Errno"):
        return f"{verb}: {error.filename}: {error.strerror}; see that it is there and may be read and written"
    return str(error)


def _warned(message: Warning | str, *_: object, **__: object) -> None:
    """One line for a warning, without the place in the code; the same one once."""
    text = f"fisherscope: {message}"
    if text not in _said:
        _said.append(text)
        print(text, file=sys.stderr)


_said: list[str] = []


def _users(error: Exception) -> bool:
    """Whether the error is one that the user can mend, so that a traceback would only hide its text."""
    return isinstance(error, ValueError | OSError) or type(error).__module__.startswith("fisherscope")


def _near(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, list(verbs()), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _fail(text: str) -> None:
    print(f"fisherscope: {text}", file=sys.stderr)
    raise SystemExit(USAGE)
