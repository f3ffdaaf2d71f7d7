"""Where runs go: `runs/MODEL-DATA-001`, the next free number, and never over something that exists."""

from __future__ import annotations

import os
import re
from pathlib import Path

from creo.errors import OptionError, RunError


def processes() -> int:
    """How many processes train together (torchrun says so)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def speaks() -> bool:
    """Whether this process is the one that prints."""
    return os.environ.get("RANK", "0") == "0"


def short(spec: str) -> str:
    """A data specification as part of a folder's name: `images:/a/photos` is `images-photos`."""
    kind, _, path = spec.partition(":")
    text = "-".join(filter(None, (kind, Path(path).stem)))
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def next_free(name: str, *, root: Path = Path("runs")) -> Path:
    """`root/name-NNN` with the first number above all that are taken."""
    if processes() > 1:
        raise OptionError("several processes train together: say where with --out, so that they agree")
    taken = [
        int(p.name[len(name) + 1 :]) for p in root.glob(f"{name}-*") if p.name[len(name) + 1 :].isdigit()
    ]
    return root / f"{name}-{max(taken, default=0) + 1:03d}"


def check_free(out: Path) -> None:
    """Raise `RunError` if something is at `out`; asked before torch is imported and data read, which may take long."""
    if processes() == 1 and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} exists already; go on with it by `creo resume {out}`, or choose another --out")
