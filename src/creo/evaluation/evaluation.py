"""What is known about one model: values with their protocols, pictures, and where they were made.

On disk `evaluation.json` and a PNG file per picture; `judging.evaluate` makes one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creo.errors import OptionError, RunError
from creo.evaluation.value import Value

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(repr=False)
class Evaluation:
    """What is known about one model: values with their protocols, pictures, and where they were made.

    Args:
        model: its name.
        data: what it was evaluated on.
        values: in the order they are shown; `evaluation["NLL"]` finds one by name.
        floor: what training data would score in the model's place, by name.
        pictures: PNG files by name: `samples`, `data`, `neighbours`.
        about: versions, processor, threads, date, options.
    """

    model: str
    data: str
    values: list[Value]
    floor: dict[str, Value] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        lines = [f"{self.model} on {self.data}", *map(repr, self.values)]
        return "\n  ".join(lines + [f"training data themselves: {v}" for v in self.floor.values()])

    def __getitem__(self, name: str) -> Value:
        for value in self.values:
            if value.name == name:
                return value
        raise OptionError(f"no value {name!r} here; there are {', '.join(v.name for v in self.values)}")

    def __contains__(self, name: str) -> bool:
        return any(v.name == name for v in self.values)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the pictures."""
        return {
            "model": self.model,
            "data": self.data,
            "values": [v.to_dict() for v in self.values],
            "floor": {k: v.to_dict() for k, v in self.floor.items()},
            "about": self.about,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Evaluation:
        """The evaluation that `to_dict` wrote."""
        values = [Value.from_dict(v) for v in fields["values"]]
        floor = {k: Value.from_dict(v) for k, v in fields["floor"].items()}
        return cls(fields["model"], fields["data"], values, floor, about=fields["about"])

    def save(self, folder: str | Path) -> Path:
        """Write `evaluation.json` and the pictures `evaluation-NAME.png` into a folder; the JSON last."""
        from creo.training.checkpoint import write_atomically

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, png in self.pictures.items():
            write_atomically(folder / f"evaluation-{name}.png", png)
        path = folder / "evaluation.json"
        write_atomically(path, (json.dumps(self.to_dict(), indent=1) + "\n").encode())
        return path

    @classmethod
    def read(cls, folder: str | Path) -> Evaluation:
        """What `save` wrote.

        Raises:
            RunError: if there is none, or it cannot be read.
        """
        path = Path(folder) / "evaluation.json"
        try:
            found = cls.from_dict(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} cannot be read: {error}; delete it and evaluate again") from None
        files = sorted(path.parent.glob("evaluation-*.png"))
        found.pictures = {f.stem.removeprefix("evaluation-"): f.read_bytes() for f in files}
        return found

    def table(self) -> RichTable:
        """A table for the terminal (`rich.print(evaluation.table())`); 80 columns are enough for it."""
        from rich import box
        from rich.table import Table

        title = f"{self.model} on {self.data}"
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", caption=self._notes(),
                      caption_justify="left", pad_edge=False)  # fmt: skip
        table.add_column("", no_wrap=True)
        table.add_column("value", justify="right", no_wrap=True)
        if self.floor:
            table.add_column("training data", justify="right", no_wrap=True, style="dim")
        for v in self.values:
            floor = self.floor.get(v.name)
            cells = [
                v.name,
                f"{v.text} {v.unit}".strip(),
                *([floor.text if floor else ""] * bool(self.floor)),
            ]
            table.add_row(*(cell.replace("+-", "\u00b1") for cell in cells))
        return table

    def _notes(self) -> str:
        """What the values are of and what must be known of them, each said once for all values it holds for."""
        said: dict[str, list[str]] = {}
        for v in self.values:
            for text in (v.context, v.note):
                if text:
                    said.setdefault(text, []).append(v.name)
        return "\n".join(f"{', '.join(names)}: {text}" for text, names in said.items()).replace("[", "\\[")
