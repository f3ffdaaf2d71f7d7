"""`creo COMMAND ...`: find the command, run it, and turn what went wrong into one line and an exit status.

| status | meaning                                                        |
|--------|----------------------------------------------------------------|
| 0      | done                                                           |
| 1      | a defect of creo itself (`--debug` shows where)                |
| 2      | the input is wrong; the line says what and what to do          |
| 3      | training met a number that is not finite                       |
| 130    | interrupted; a run that was under way is saved and resumable   |
| 141    | whoever read the output closed it                              |
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from creo.cli import COMMANDS, options
from creo.errors import CreoError, UnknownName, suggestion

_INTRO = """usage: creo COMMAND ...   (creo COMMAND --help says more)

Learn p(x) from data with any family of deep generative models, ask them all the same questions.

"""
_OUTRO = """
  --debug     anywhere: show the traceback of an error
  --version   print the version

Start with: creo demo
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: what was typed after `creo`; None: `sys.argv`.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    try:
        status = _dispatch(words)
        sys.stdout.flush()
        return status
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that Python's own flush at exit is quiet too
        return 141
    except (Exception, KeyboardInterrupt) as error:  # the one place where errors become a line
        if debug:
            raise
        line, status = _said(error)
        print(f"creo: {line}", file=sys.stderr)  # noqa: T201
        return status


def _said(error: BaseException) -> tuple[str, int]:
    """What to print for an error, and the exit status it means."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    message = " ".join(str(error).split())
    if isinstance(error, CreoError) and error.status == 130:
        return message, 130
    if isinstance(error, CreoError):
        return f"error: {message}", error.status
    if isinstance(error, OSError):
        return f"error: {message}", 2
    return f"internal error: {type(error).__name__}: {message} (--debug shows where)", 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(help_text())
        return 0
    if words[0] in ("-V", "--version", "version"):
        from creo import __version__

        sys.stdout.write(f"creo {__version__}\n")
        return 0
    name, *rest = words
    if name == "__complete":
        from creo.cli.completion import words_for

        sys.stdout.writelines(f"{w}\n" for w in words_for(rest))
        return 0
    if name not in COMMANDS:
        raise UnknownName(f"no command {name!r}{suggestion(name, COMMANDS)} (see creo --help)")
    return run(name, rest)


def run(name: str, args: list[str]) -> int:
    """Parse the arguments of the command `name` and run it; its exit status."""
    path = COMMANDS[name]
    module, _, function = path.partition(":")
    command = importlib.import_module(module)
    if hasattr(command, f"{function}_arguments"):  # options that depend on other arguments
        values = getattr(command, f"{function}_arguments")(args)
    else:
        from creo.cli.parse import parse

        values = parse(f"creo {name}", options.description(path), {"": options.of_function(path)}, args)[""]
    return int(getattr(command, function)(**values) or 0)


def help_text() -> str:
    """What `creo --help` prints; the summaries are the commands' own docstrings."""
    lines = [f"  {name:<11} {options.summary(path)}" for name, path in COMMANDS.items()]
    return _INTRO + "\n".join(lines) + "\n" + _OUTRO
