"""Parsing by tyro: a list of `Option` becomes a throw-away dataclass that `tyro.cli` fills from the arguments.

tyro draws its complaints as a box; creo says one line, so the box is read back and its message, with tyro's
suggestions, raised as an `OptionError` (exit status 2).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from creo.cli.options import REQUIRED, Option
from creo.errors import OptionError

_BORDER = re.compile(r"^[╭╰│|+]|[╮╯│|+]$")
_RULE = re.compile(r"^[─\-\s]+$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


Groups = Mapping[str, Sequence[Option]]


def parse(prog: str, about: str, groups: Groups, args: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The value of every option, by group and parameter name.

    Args:
        prog: how the command is called, e.g. `creo train made`.
        about: what help says first.
        groups: what may be given; each group but the one called "" gets a heading in help.
        args: the arguments typed after `prog`.

    Raises:
        OptionError: what is wrong with the arguments, in one line.
        SystemExit: after printing help.
    """
    fields = [_field(o) for o in groups.get("", ())]
    fields += [_group(name, found) for name, found in groups.items() if name]
    filled = _filled(dataclasses.make_dataclass("Arguments", fields), prog, about, groups, args)
    homes = {name: getattr(filled, f"group_{name}") if name else filled for name in groups}
    return {name: {o.name: getattr(homes[name], o.name) for o in found} for name, found in groups.items()}


def changed(values: Mapping[str, Any], options: Sequence[Option]) -> dict[str, Any]:
    """Those values that differ from their default."""
    return {o.name: values[o.name] for o in options if values[o.name] != o.default}


def _filled(arguments: Any, prog: str, about: str, groups: Groups, args: Sequence[str]) -> Any:
    import tyro

    said, shown = io.StringIO(), io.StringIO()
    plain = contextlib.redirect_stdout(shown) if os.environ.get("NO_COLOR") else contextlib.nullcontext()
    try:
        with contextlib.redirect_stderr(said), plain:
            return tyro.cli(arguments, prog=prog, description=about, args=list(args))
    except SystemExit as stop:
        if stop.code:
            every = [o for found in groups.values() for o in found]
            raise OptionError(f"{one_line(said.getvalue(), every)} (see {prog} --help)") from None
        sys.stdout.write(shown.getvalue())
        raise


def _group(name: str, options: Sequence[Option]) -> Any:
    import tyro

    group = dataclasses.make_dataclass(name, [_field(o) for o in options], namespace={"__doc__": ""})
    return (
        f"group_{name}",
        Annotated[group, tyro.conf.arg(name=name)],
        dataclasses.field(default_factory=group),
    )


def _field(option: Option) -> Any:
    import tyro

    how: dict[str, Any] = {"help": option.help.rstrip("."), "prefix_name": False}
    if option.flag:
        how["name"] = option.flag
    if len(option.name) == 1 and not option.positional:
        how["aliases"] = [f"-{option.name}"]
    if option.default is None:
        how["metavar"] = option.word  # without tyro's "{None}|"
        how["help_behavior_hint"] = f"(default: {option.shown})" if option.shown else ""
    elif option.positional:
        how["metavar"] = option.name.upper()
    kind = Annotated[option.kind, tyro.conf.arg(**how)]  # type: ignore[name-defined]
    where: Any = tyro.conf.Positional[kind] if option.positional else kind  # type: ignore[misc]
    if option.default is REQUIRED:
        return option.name, where
    return option.name, where, dataclasses.field(default=option.default)


def one_line(box: str, options: Sequence[Option] = ()) -> str:
    """The message in tyro's box: what is wrong, and what was perhaps meant."""
    lines = [_BORDER.sub("", line.strip()).strip() for line in _COLOUR.sub("", box).splitlines()]
    parts: list[list[str]] = [[]]
    for line in lines[1:]:  # the first line is the title
        if line and _RULE.match(line):
            parts.append([])
        elif line:
            parts[-1].append(line)
    parts = [part for part in parts if part]
    message = _reworded(" ".join(parts[0] if parts else lines), options)
    for part in parts[1:]:
        if part[0].startswith("Perhaps you meant"):
            meant = [line.split()[0].rstrip(",") for line in part if line.startswith("-")]
            message += f"; did you mean {' or '.join(dict.fromkeys(meant))}?"
    return message[:1].lower() + message[1:]


def _reworded(message: str, options: Sequence[Option]) -> str:
    """Complaints about a value, in terms of the option instead of Python's types."""
    message = re.sub(r"Missing from [\w -]+: (\S+) (.+) \(required\)$", r"missing \1: \2", message)
    wrong = re.match(r"Error parsing (\S+):", message)
    option = next((o for o in options if wrong and o.spelling in wrong[1].split("/")), None)
    received = re.findall(r"'[^']*'", message.partition("Got errors")[0])
    if option is None or not received:
        return message.replace("'None', ", "").replace(", 'None')", ")")
    return f"{option.spelling} takes {option.word}; received {' '.join(received)}"
