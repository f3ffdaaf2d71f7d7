"""`Comparison`: models side by side at equal budget, every model once per seed, as data, table and report.

A row of the table is a model: the mean of each value over its seeds, and behind `+-` the standard deviation over
seeds (over test samples, as a standard error, when there is one seed only). Values are averaged and compared only
when their protocols agree. In a column that has a better direction the best mean is marked; of likelihoods, those
that are estimates (`~`) take no part, and an upper bound counts as what it guarantees.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creo.evaluation.evaluation import Evaluation
from creo.evaluation.value import Value, with_error

if TYPE_CHECKING:
    from rich.table import Table as RichTable

#: What a comparison's table shows, and the columns' headings.
COLUMNS = {
    "NLL": "NLL, nats",
    "bits/dim": "bits/dim",
    "KL": "KL, nats",
    "MMD2": "MMD2",
    "C2ST": "C2ST",
    "sampling": "ms/sample",
    "parameters": "parameters",
    "training time": "training, s",
}
#: Further values that have a place of their own in the report.
ASIDE = {
    "FD": "FD",
    "KID": "KID",
    "precision": "precision",
    "recall": "recall",
    "IS": "classifier score",
    "modes": "modes",
    "high quality": "high quality",
    "distance ratio": "distance ratio",
    "copies": "copies",
}
#: What a narrow terminal's table leaves out first.
EXPENDABLE = ("training time", "parameters", "bits/dim", "C2ST", "KL", "sampling")
_UNMARKED = ("parameters", "training time", "distance ratio", "copies")


@dataclass
class Entry:
    """One model trained with one seed.

    Args:
        label: what the model is called in this comparison.
        family: the package it lives in; empty for the baseline.
        options: what it was built with.
        seed: what seeded weights, data order and training.
        folder: its run folder.
        evaluation: its values; None if it failed.
        failure: why it failed, in one line; empty if it did not.
        history: rows of metrics.jsonl.
    """

    label: str
    family: str
    options: dict[str, Any]
    seed: int
    folder: Path
    evaluation: Evaluation | None = None
    failure: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "model": self.label,
            "family": self.family,
            "options": self.options,
            "seed": self.seed,
            "folder": str(self.folder),
            "failure": self.failure,
            "evaluation": self.evaluation.to_dict() if self.evaluation else None,
        }


@dataclass(frozen=True)
class Across:
    """A value over seeds: `value` holds the mean, `spread` the standard deviation over `seeds` seeds (or, of one
    seed, the standard error over samples)."""

    value: Value
    spread: float | None
    seeds: int

    @property
    def text(self) -> str:
        """Sign, mean and spread."""
        if self.value.missing:
            return "none"
        sign = "" if self.value.kind == "=" else self.value.kind + " "
        return sign + with_error(self.value.value, self.spread)


def across(values: list[Value]) -> Across:
    """Mean and spread of the same value from several seeds.

    Raises:
        OptionError: if they were not obtained in the same way.
    """
    for other in values[1:]:
        values[0].check_comparable(other)
    numbers = [v.value for v in values]
    if len(numbers) == 1:
        return Across(values[0], values[0].stderr, 1)
    finite = all(map(math.isfinite, numbers))
    mean = statistics.fmean(numbers)
    fields = {**vars(values[0]), "value": mean, "stderr": None}
    return Across(Value(**fields), statistics.stdev(numbers) if finite else None, len(numbers))


@dataclass
class Comparison:
    """The outcome of `compare`.

    Args:
        entries: one per model and seed, in the order they were given; the baseline last.
        about: data, budget, settings, seeds, versions, processor, date, command.
        path: the folder with results.json and report.html.
    """

    entries: list[Entry]
    about: dict[str, Any]
    path: Path

    @property
    def labels(self) -> list[str]:
        """The models, in order."""
        return list(dict.fromkeys(e.label for e in self.entries))

    def of(self, label: str) -> list[Entry]:
        """The entries of a model, one per seed."""
        return [e for e in self.entries if e.label == label]

    def failure(self, label: str) -> str:
        """Why a model has no values at all; empty if it has some, or is only partly done."""
        entries = self.of(label)
        return entries[0].failure if all(e.evaluation is None for e in entries) else ""

    def values(self, label: str) -> dict[str, Across]:
        """A model's values over its seeds, by name."""
        done = [e.evaluation for e in self.of(label) if e.evaluation is not None]
        names = [v.name for v in done[0].values] if done else []
        return {n: across([e[n] for e in done if n in e]) for n in names}

    def columns(self) -> list[str]:
        """The names of `COLUMNS` for which some model has a number, in order."""
        rows = [self.values(label) for label in self.labels]
        return [c for c in COLUMNS if any(c in r and not r[c].value.missing for r in rows)]

    def best(self, column: str) -> set[str]:
        """The models with the best mean in a column; empty where there is nothing to compare."""
        if column in _UNMARKED:
            return set()
        found = {label: self.values(label).get(column) for label in self.labels}
        values = {k: a.value for k, a in found.items() if a and math.isfinite(a.value.value)}
        values = {k: v for k, v in values.items() if v.kind != "~"}
        return {
            k
            for k, v in values.items()
            if len(values) > 1 and not any(o.better_than(v) for o in values.values())
        }

    def floor(self, column: str) -> Value | None:
        """What the training data themselves would score in a column."""
        floors = (e.evaluation.floor.get(column) for e in self.entries if e.evaluation)
        return next((f for f in floors if f), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: `about`, the summary over seeds, and every entry."""
        summary = [
            {
                "model": label,
                "failure": self.failure(label),
                "values": {
                    n: {**a.value.to_dict(), "spread": a.spread, "seeds": a.seeds}
                    for n, a in self.values(label).items()
                },
            }
            for label in self.labels
        ]
        return {"about": self.about, "summary": summary, "entries": [e.to_dict() for e in self.entries]}

    def save(self) -> None:
        """Write results.json and report.html into `path`, each whole or not at all."""
        from creo.evaluation.report import comparison_report
        from creo.training.checkpoint import write_atomically

        content = json.dumps(self.to_dict(), indent=1) + "\n"
        write_atomically(self.path / "results.json", content.encode())
        write_atomically(self.path / "report.html", comparison_report(self).encode())

    def _cells(self, label: str, columns: list[str]) -> Iterator[str]:
        values = self.values(label)
        for column in columns:
            text = values[column].text.replace("+-", "\u00b1") if column in values else ""
            yield f"[bold]{text}[/bold]" if label in self.best(column) else text

    def table(self, *, width: int | None = None) -> RichTable:
        """A table for the terminal (`rich.print(comparison.table())`); the best of a column is bold.

        Args:
            width: leave out columns, those of `EXPENDABLE` first, until it fits; the caption says which.
        """
        from rich import box
        from rich.table import Table

        shown, left_out = self._fitting(width)
        about = self.about
        title = f"{about['data']}, {about['budget']} each, {about['seeds_text']}"
        caption = f"left out: {', '.join(COLUMNS[c] for c in left_out)}" if left_out else None
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", caption=caption,
                      caption_justify="left", pad_edge=False)  # fmt: skip
        table.add_column("model")
        for column in shown:
            table.add_column(COLUMNS[column].replace(", ", ",\n"), justify="right", no_wrap=True)
        for label in self.labels:
            table.add_row(label, *self._cells(label, shown))
        if any(self._floor_cells(shown)):
            table.add_row("training data", *self._floor_cells(shown), style="dim")
        return table

    def _floor_cells(self, columns: list[str]) -> list[str]:
        floors = [self.floor(c) for c in columns]
        return [f.text.replace("+-", "\u00b1") if f else "" for f in floors]

    def _fitting(self, width: int | None) -> tuple[list[str], list[str]]:
        """The columns that fit into `width` characters, and those that do not."""
        columns = self.columns()
        needed = {c: self._needs(c) + 2 for c in columns}
        names = max(len(name) for name in [*self.labels, "training data"]) + 2
        left_out = []
        for column in [c for c in EXPENDABLE if c in columns]:
            if width is None or names + sum(needed[c] for c in columns if c not in left_out) <= width:
                break
            left_out.append(column)
        return [c for c in columns if c not in left_out], left_out

    def _needs(self, column: str) -> int:
        """How many characters the widest cell of a column has."""
        cells = [*COLUMNS[column].split(", "), *self._floor_cells([column])]
        for label in self.labels:
            found = self.values(label).get(column)
            cells += [found.text] if found else []
        return max(map(len, cells))

    def failures(self) -> list[str]:
        """A line for every entry that failed."""
        return [f"{e.label}, seed {e.seed}: {e.failure}" for e in self.entries if e.failure]
