"""A run is a folder that a person can read.

    config.yaml                       everything needed to build, continue and understand it
    metrics.jsonl                     one JSON object a row: losses, learning rate, validation, time
    samples/step-00001000.png         what the model drew at that step (.txt for text)
    checkpoints/step-00001000.safetensors   the two newest: weights, average, optimiser, generators, counters
    checkpoints/best.safetensors      the evaluated weights that were best on validation
    report.html                       written by `creo report`

The folder appears complete (config and first checkpoint) or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from creo.errors import CorruptCheckpoint, RunError
from creo.training import checkpoint

KEPT = 2


class RunFolder:
    """The folder of one run; `create` makes it, `RunFolder(path)` opens it.

    Raises:
        RunError: if `path` is not the folder of a run.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import yaml

        self.path = Path(path)
        config = self.path / "config.yaml"
        if not config.is_file():
            what = "is not a run: it has no config.yaml" if self.path.exists() else "does not exist"
            raise RunError(f"{self.path} {what}; `creo train MODEL --data DATA --out {self.path}` makes one")
        try:
            self.config: dict[str, Any] = yaml.safe_load(config.read_text())
        except (yaml.YAMLError, OSError) as error:
            raise RunError(f"{config} cannot be read: {error}".replace("\n", " ")) from None
        if not isinstance(self.config, dict) or not {"model", "data", "settings"} <= self.config.keys():
            raise RunError(f"{config} is not a run's config: it must have model, data and settings")

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], config: Mapping[str, Any], tensors: Mapping[str, Tensor], meta: Any
    ) -> RunFolder:
        """Make a run folder with its config and first checkpoint.

        Raises:
            RunError: if something is at `path` already, or it cannot be written.
        """
        path = Path(path)
        check_free(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            (partial / "checkpoints").mkdir(parents=True)
            (partial / "samples").mkdir()
            checkpoint.write_atomically(partial / "config.yaml", _yaml(config))
            checkpoint.write(partial / "checkpoints" / _name(0), tensors, meta)
            os.rename(partial, path)
        except OSError as error:
            raise RunError(f"could not make the run folder {path}: {error.strerror}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return cls(path)

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Replace config.yaml (a longer budget, say)."""
        checkpoint.write_atomically(self.path / "config.yaml", _yaml(config))
        self.config = dict(config)

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write the checkpoint of a step and remove all but the newest two."""
        checkpoint.write(self.path / "checkpoints" / _name(step), tensors, meta)
        for old in self.checkpoints()[KEPT:]:
            old.unlink(missing_ok=True)

    def checkpoints(self) -> list[Path]:
        """Checkpoints to resume from, newest first."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"), reverse=True)

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
        """The newest checkpoint that is whole: tensors, values, and a line for each damaged one passed over.

        Raises:
            CorruptCheckpoint: if none is.
        """
        passed_over: list[str] = []
        for path in self.checkpoints():
            try:
                return *checkpoint.read(path), passed_over
            except CorruptCheckpoint as error:
                passed_over.append(f"{error}; going on from the one before")
        reasons = " | ".join(passed_over) or f"no checkpoint in {self.path / 'checkpoints'}"
        raise CorruptCheckpoint(f"{self.path} has no checkpoint that is whole: {reasons}")

    @property
    def best(self) -> Path:
        """Where the weights that were best on validation are."""
        return self.path / "checkpoints" / "best.safetensors"

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row to metrics.jsonl."""
        try:
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise RunError(
                f"could not write {self.path / 'metrics.jsonl'}: {error.strerror}; the last checkpoint is intact"
            ) from error

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a last row cut off by a kill is left out."""
        return read_rows(self.path / "metrics.jsonl")

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Forget the rows and pictures after `step`, which will be made again; return the rows kept."""
        kept = [row for row in self.rows() if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        checkpoint.write_atomically(self.path / "metrics.jsonl", text.encode())
        return kept


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a .jsonl file up to the first line that was cut off; none if there is no file."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def check_free(path: Path) -> None:
    """Raise `RunError` if a run cannot be made at `path` because something is there."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    elif path.exists():
        raise RunError(
            f"{path} exists already; go on with it by `creo resume {path}`, or choose another --out"
        )


def _name(step: int) -> str:
    return f"step-{step:08d}.safetensors"


def _yaml(config: Mapping[str, Any]) -> bytes:
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode()
