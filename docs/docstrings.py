"""Docstrings as they are written here, for Sphinx: `code`, |x|, a * b, indented formulas and pipe tables.

A Sphinx extension that runs before napoleon: inline code becomes a literal, indented formulas become literal blocks,
pipe tables become list tables, and characters that reStructuredText would take for markup are escaped. Google
sections (Args, Returns, Raises) are left for napoleon, with their text escaped.
"""

from __future__ import annotations

import re
from typing import Any

_SECTION = re.compile(r"^(\s*)(Args|Returns|Raises|Yields|Note|Example|Examples):\s*$")
_CODE = re.compile(r"`+([^`]+)`+")
_LINK = re.compile(r"https?://\S+[^\s.,;:)]")


def escaped(text: str) -> str:
    """A line of prose with its inline code as literals and everything else free of markup."""
    parts, at = [], 0
    kept = [(m.start(), m.end(), f"``{m[1]}``") for m in _CODE.finditer(text)]
    kept += [
        (m.start(), m.end(), m[0])
        for m in _LINK.finditer(text)
        if not any(a <= m.start() < b for a, b, _ in kept)
    ]
    for start, end, new in sorted(kept):
        parts += [re.sub(r"([\\*|]|_\b)", r"\\\1", text[at:start]), new]
        at = end
    return "".join([*parts, re.sub(r"([\\*|]|_\b)", r"\\\1", text[at:])])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _table(rows: list[str]) -> list[str]:
    """Pipe-table lines as a list table."""
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|(?![^`]*`[^`]*\|)", r.strip().strip("|"))] for r in rows]
    header, body = cells[0], [c for c in cells[1:] if not all(re.fullmatch(r":?-+:?", x) for x in c)]
    width = len(header)
    out = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *body]:
        row = (
            [*row[: width - 1], " | ".join(row[width - 1 :])]
            if len(row) > width
            else row + [""] * (width - len(row))
        )
        out += [f"   {'* -' if i == 0 else '  -'} {escaped(cell)}" for i, cell in enumerate(row)]
    return [*out, ""]


def _in_list(out: list[str]) -> bool:
    """Whether the paragraph being written is a bullet list."""
    for line in reversed(out):
        if not line.strip():
            return False
        if line.lstrip().startswith("- "):
            return True
    return False


def converted(lines: list[str]) -> list[str]:
    """A docstring's lines as reStructuredText."""
    out: list[str] = []
    section: int | None = None  # the indentation of the Google section we are in
    i = 0
    while i < len(lines):
        line = lines[i]
        if found := _SECTION.match(line):
            section = len(found[1])
            out.append(line)
        elif section is not None and line.strip() and _indent(line) <= section:
            section = None
            continue
        elif line.lstrip().startswith("|") and line.rstrip().endswith("|") and section is None:
            rows = [line]
            while i + 1 < len(lines) and lines[i + 1].lstrip().startswith("|"):
                i += 1
                rows.append(lines[i])
            out += _table(rows)
        elif section is None and _indent(line) >= 2 and (not out or not out[-1].strip()):
            block = []
            while i < len(lines) and (not lines[i].strip() or _indent(lines[i]) >= 2):
                block.append(lines[i])
                i += 1
            out += ["::", "", *(f"    {b}" if b.strip() else "" for b in block), ""]
            continue
        elif section is None and _indent(line) and not _in_list(out):  # a continued line of a paragraph
            out.append(escaped(line.lstrip()))
        else:
            out.append(escaped(line))
        i += 1
    return out


def process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """The handler of `autodoc-process-docstring`."""
    module = getattr(thing, "__module__", None) or getattr(thing, "__name__", "")
    if str(module).startswith("creo"):
        lines[:] = converted(lines)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx, ahead of napoleon."""
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True}
