"""Tables: plain in a pipe, framed on a terminal, blocks on a narrow one."""

from __future__ import annotations

import io
import os
import sys

import pytest

from creo.cli import tables

COLUMNS = ("name", "what", "source")
ROWS = [("a", "a long description " * 3, "somewhere"), ("longer-name", "", "elsewhere")]


def test_plain_has_a_line_per_row_aligned() -> None:
    lines = tables.plain(COLUMNS, ROWS).splitlines()
    assert len(lines) == 3
    assert {
        line.find(word) for line, word in zip(lines, ("source", "somewhere", "elsewhere"), strict=True)
    } == {len("longer-name") + 2 + len(ROWS[0][1]) + 2}
    assert not any(line.endswith(" ") for line in lines)


def test_blocks_name_every_value() -> None:
    assert tables.blocks(COLUMNS, ROWS[1:]) == "longer-name\n  source: elsewhere\n"


def test_expendable_columns_go_one_by_one() -> None:
    assert tables.fitted(COLUMNS, ROWS, ("source", "what"), 200)[2] == []
    columns, rows, gone = tables.fitted(COLUMNS, ROWS, ("source", "what"), 75)
    assert (list(columns), [list(r) for r in rows], gone) == (
        ["name", "what"],
        [list(r[:2]) for r in ROWS],
        ["source"],
    )
    assert tables.fitted(COLUMNS, ROWS, ("source", "what"), 20)[2] == ["source", "what"]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, width: int, **env: str) -> str:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    for name, value in {"COLUMNS": str(width), "TERM": "xterm-256color", **env}.items():
        monkeypatch.setenv(name, value)
    tables.show(COLUMNS, ROWS, expendable=("source",))
    return screen.getvalue()


@pytest.mark.parametrize("width", [40, 60, 100, 200])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    from rich.text import Text

    lines = [Text.from_ansi(line).plain for line in shown(monkeypatch, width).splitlines()]
    assert all(len(line) <= width for line in lines) or width < tables.NARROW
    assert any("longer-name" in line for line in lines)
    assert ("elsewhere" in "".join(lines)) == (width != 60)


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[3" not in shown(monkeypatch, 60, NO_COLOR="1")
    assert os.environ["NO_COLOR"] == "1"
