"""Calling the command line in this process, in an empty folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from creo.cli.main import main


@dataclass
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str


Creo = Callable[..., Said]


@pytest.fixture
def creo(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Creo:
    """`creo("train made --steps 1")` runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CREO_DATA", raising=False)

    def call(*texts: str) -> Said:
        capsys.readouterr()
        status = main([word for text in texts for word in text.split()])
        return Said(status, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small conditional model on digits."""
    out = tmp_path_factory.mktemp("cli") / "run"
    words = f"train made --hidden 8 --data digits --steps 3 --conditional --no-progress --out {out}"
    assert main(words.split()) == 0
    return out
