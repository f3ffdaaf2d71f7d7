"""Tables for people and for programs: framed and wrapped on a terminal, plain aligned lines in a pipe, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

#: Below this many columns of terminal a table becomes one block of lines per row.
NARROW = 60


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], *, keep: int = 1) -> None:
    """Print a table to stdout.

    Args:
        columns: the header.
        rows: one text per column.
        keep: the first so many columns are never wrapped.
    """
    if not sys.stdout.isatty():
        sys.stdout.write(plain(columns, rows))
        return
    from rich.console import Console

    console = Console()
    if console.width < NARROW:
        sys.stdout.write(blocks(columns, rows))
    else:
        console.print(framed(columns, rows, keep))


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


def framed(columns: Sequence[str], rows: Sequence[Sequence[str]], keep: int) -> Any:
    """A rich table."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, no_wrap=i < keep, overflow="fold", style="bold" if i == 0 else "")
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
