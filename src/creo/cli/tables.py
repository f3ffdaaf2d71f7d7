"""Tables for people and for programs: framed and wrapped on a terminal, plain aligned lines in a pipe, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

#: Below this many columns of terminal a table becomes one block of lines per row.
NARROW = 60


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], *, expendable: Sequence[str] = ()) -> None:
    """Print a table to stdout.

    Args:
        columns: the header.
        rows: one text per column.
        expendable: columns a terminal leaves out, the first one first, until the rest fits; a note says which.
    """
    if not sys.stdout.isatty():
        sys.stdout.write(plain(columns, rows))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if console.width < NARROW:
        sys.stdout.write(blocks(columns, rows))
        return
    columns, rows, left_out = fitted(columns, rows, expendable, console.width)
    console.print(framed(columns, rows))
    if left_out:
        console.print(f"--json or a wider terminal shows {', '.join(left_out)} too.", style="dim")


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], expendable: Sequence[str], width: int
) -> tuple[Sequence[str], Sequence[Sequence[str]], list[str]]:
    """The table without as many of the `expendable` columns as do not fit into `width`, and their names."""
    left_out: list[str] = []
    for name in expendable:
        if max(map(len, plain(columns, rows).splitlines())) < width:
            break
        i = columns.index(name)
        columns = [*columns[:i], *columns[i + 1 :]]
        rows = [[*row[:i], *row[i + 1 :]] for row in rows]
        left_out.append(name)
    return columns, rows, left_out


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, two spaces apart, one line per row whatever its length."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    texts = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "".join(text.rstrip() + "\n" for text in texts)


def blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Every row as a block of `column: value` lines under its first cell."""
    out = []
    for first, *rest in rows:
        out.append(first)
        out += [f"  {name}: {cell}" for name, cell in zip(columns[1:], rest, strict=True) if cell]
    return "\n".join(out) + "\n"


def framed(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """A rich table; its first column is never wrapped."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, no_wrap=i == 0, overflow="fold", style="bold" if i == 0 else "")
    for row in rows:
        table.add_row(*row)
    return table


def show_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print JSON, and nothing else, to stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show_lines(*lines: str) -> None:
    """Print lines to stdout."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def show_rich(renderable: Any) -> None:
    """Print something of rich to stdout: as wide as the terminal, or as it needs in a pipe."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200).print(renderable)
