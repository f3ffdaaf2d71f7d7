"""Run a benchmark, keep what it measured with everything needed to measure it again, and write it into documents.

A benchmark is a module here with `run(quick) -> rows`; a row is a dict with

| key              | meaning                                                             |
|------------------|---------------------------------------------------------------------|
| name             | what was measured                                                   |
| value, unit      | the number                                                          |
| spread           | [low, high] over repetitions, or one standard deviation, or None    |
| better           | `lower` or `higher`                                                 |
| target, met      | what it should be at least or at most, and whether it is; or None   |
| peer, peer_value | another package's number from the same run; or None                 |
| note             | what else a reader must know (optional)                             |

to which the runner adds `command`, `date`, `seeds`, `versions`, `cpu` and `threads`. `results/NAME.json` holds the
rows; a document takes its table from there, between `<!-- benchmarks:NAME -->` and `<!-- /benchmarks -->`
(`A,B` for several in one table, `*` for all of them), so no number is typed by hand. A quick run prints and
writes nothing.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
KEYS = ("name", "value", "unit", "spread", "better", "target", "met", "peer", "peer_value")
_SLOT = re.compile(r"(<!-- benchmarks:([\w,-]+|\*) -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)

Row = dict[str, Any]


class Problem(Exception):
    """Something asked for cannot be done; one line says why."""


def benchmarks() -> dict[str, str]:
    """Name -> first line of its docstring, of the modules here that define `run`; none is imported."""
    found = {}
    for file in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[file.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return {name: about for name, about in found.items() if not name.startswith("_")}


def measure(name: str, *, quick: bool) -> list[Row]:
    """Run a benchmark; its rows, completed.

    Raises:
        Problem: no such benchmark, or a row of it lacks a key.
    """
    if name not in benchmarks():
        raise Problem(f"no benchmark {name!r}; there are {', '.join(benchmarks())}")
    rows = importlib.import_module(f"benchmarks.{name}").run(quick)
    about = circumstances(f"python -m benchmarks {name}{' --quick' if quick else ''}")
    return [completed(row, about) for row in rows]


def completed(row: Mapping[str, Any], about: Mapping[str, Any]) -> Row:
    """A row with the circumstances it was measured under (what the row itself says of them stays)."""
    lacking = [key for key in KEYS if key not in row]
    if lacking:
        raise Problem(f"a row of a benchmark lacks {', '.join(lacking)}: {dict(row)}")
    return {**about, **row}


def circumstances(command: str) -> dict[str, Any]:
    """Command, date, versions, processor and threads."""
    from importlib.metadata import version

    from creo.evaluation.machine import machine

    here = machine()
    versions = {name: here[name] for name in ("creo", "python", "torch")} | {"numpy": version("numpy")}
    return {
        "command": command,
        "date": str(here["date"])[:10],
        "seeds": None,
        "versions": versions,
        "cpu": f"{here['cpu']}, {here['cores']} cores",
        "threads": here["threads"],
    }


def write(name: str, rows: Sequence[Row]) -> Path:
    """Write results/NAME.json, whole or not at all."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def measured() -> list[str]:
    """The benchmarks that have a result."""
    return sorted(path.stem for path in RESULTS.glob("*.json"))


def read(name: str) -> list[Row]:
    """The rows of results/NAME.json."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise Problem(f"{name} was not measured yet: python -m benchmarks {name}")
    return json.loads(path.read_text(encoding="utf-8"))


def table(names: str) -> str:
    """The results of one benchmark, or of several (`a,b`) in one table, as Markdown."""
    return rows_as_table([row for name in names.split(",") for row in read(name)])


def tables() -> str:
    """All results as Markdown, each under its name."""
    about = benchmarks()
    return "\n".join(f"## {name}\n\n{about.get(name, '')}\n\n{table(name)}" for name in measured())


def rows_as_table(rows: Sequence[Row]) -> str:
    """A Markdown table, and under it how it was measured; rows with a `cell` (line, column) go into grids."""
    notes = dict.fromkeys(r["note"] for r in rows if r.get("note"))
    kinds = [[r for r in rows if "cell" not in r], [r for r in rows if "cell" in r]]
    texts = [draw(some) for draw, some in zip((_lines, _grid), kinds, strict=True) if some]
    return "\n\n".join([*texts, *notes, *dict.fromkeys(map(_how, rows))]) + "\n"


def _lines(rows: Sequence[Row]) -> str:
    """A line per row."""
    with_peer, with_target = (any(r[k] is not None for r in rows) for k in ("peer", "target"))
    head = ["measured", "value", *["target"] * with_target, *["beside it"] * with_peer]
    lines = [head, [":--", *["--:"] * (len(head) - 1)]]
    for r in rows:
        target, peer = [_target(r)] * with_target, [_peer(r)] * with_peer
        lines.append([r["name"], _value(r), *target, *peer])
    return _markdown(lines)


def _grid(rows: Sequence[Row]) -> str:
    """The values by their lines and columns, the best of each column in bold."""
    columns = list(dict.fromkeys(r["cell"][1] for r in rows))
    best = {c: _best([r for r in rows if r["cell"][1] == c]) for c in columns}
    lines = [[rows[0]["unit"], *columns], [":--", *["--:"] * len(columns)]]
    for line in dict.fromkeys(r["cell"][0] for r in rows):
        values = {r["cell"][1]: r["value"] for r in rows if r["cell"][0] == line}
        shown = {c: f"**{number(v)}**" if v == best[c] else number(v) for c, v in values.items()}
        lines.append([line, *(shown.get(c, "") for c in columns)])
    return _markdown(lines)


def _best(rows: Sequence[Row]) -> float:
    """The best value; all have the same direction."""
    return (min if rows[0]["better"] == "lower" else max)(r["value"] for r in rows)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """At most four significant digits, integers in full."""
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.4g}"


def _value(row: Row) -> str:
    text = f"{number(row['value'])} {row['unit']}".strip()
    match row["spread"]:
        case None:
            return text
        case [low, high]:
            return f"{text} ({number(low)} to {number(high)})"
        case spread:
            return f"{text} ± {number(spread)}"


def _target(row: Row) -> str:
    if row["target"] is None:
        return ""
    word = "at most" if row["better"] == "lower" else "at least"
    return f"{word} {number(row['target'])}: {'met' if row['met'] else 'missed'}"


def _peer(row: Row) -> str:
    if row["peer"] is None:
        return ""
    value = row["peer_value"]
    return str(row["peer"]) if value is None else f"{row['peer']}: {number(value)} {row['unit']}".strip()


def _how(row: Row) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    seeds = "" if row["seeds"] is None else f"; seeds {row['seeds']}"
    threads = f"{row['threads']} thread{'s' if row['threads'] != 1 else ''}"
    return f"`{row['command']}`, {row['date']}: {row['cpu']}, {threads}; {versions}{seeds}."


def refresh(path: Path, *, write: bool) -> bool:
    """Whether the tables in a Markdown document differ from the results; with `write`, make them the same.

    Raises:
        Problem: no such document, or a table of it was not measured.
    """
    if not path.is_file():
        raise Problem(f"no document {path}")
    before = path.read_text(encoding="utf-8")
    after = _SLOT.sub(
        lambda slot: f"{slot[1]}{tables() if slot[2] == '*' else table(slot[2])}{slot[3]}", before
    )
    if write and after != before:
        path.write_text(after, encoding="utf-8")
    return after != before
