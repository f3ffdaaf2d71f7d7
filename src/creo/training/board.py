"""TensorBoard event files of a run, beside metrics.jsonl (the extra `creo[tensorboard]`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from creo.errors import MissingExtra


class Board:
    """Writes every number of a row as a scalar at its step.

    Raises:
        MissingExtra: if tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("TensorBoard logging", "tensorboard") from error
        self.writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def add(self, row: Mapping[str, Any]) -> None:
        """One row of metrics.jsonl."""
        for name, value in row.items():
            if name not in ("step", "seconds", "round"):
                self.writer.add_scalar(name, value, row["step"])
        self.writer.flush()
