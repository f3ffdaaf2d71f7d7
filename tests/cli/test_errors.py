"""Bad input: one line that says what and what to do, exit status 2, no traceback, nothing half-written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from creo import registry
from creo.registry import Model

sys.path.insert(0, str(Path(__file__).parent))  # so that the registry can import models_for_tests

CASES = {
    "unknown command": ("trian made", ["'trian'", "did you mean 'train'"]),
    "unknown model": ("train relnvp", ["'relnvp'", "did you mean 'realnvp'"]),
    "unknown model in a comparison": ("compare made relnvp --steps 1", ["'relnvp'", "did you mean 'realnvp'"]),
    "no model": ("train", ["MODEL", "creo models"]),
    "no models": ("compare --steps 1", ["name the models", "creo models"]),
    "no budget": ("compare made", ["minutes, steps or epochs"]),
    "unknown data": ("train made --data digts", ["'digts'", "did you mean 'digits'"]),
    "unknown kind of data": ("train made --data imags:x", ["imags"]),
    "space the model cannot model": ("train made --data moons --steps 1", ["made cannot model", "realnvp"]),
    "missing file": ("train made --data table:no.csv --steps 1", ["no.csv"]),
    "missing folder": ("train made --data images:nowhere --steps 1", ["nowhere"]),
    "missing data folder": ("train made --data-dir nowhere --steps 1", ["nowhere"]),
    "corrupt archive": ("train gaussian --data array:corrupt.npz --steps 1", ["corrupt.npz"]),
    "truncated archive": ("train gaussian --data array:truncated.npz --steps 1", ["truncated.npz"]),
    "NaN in a table": ("train gaussian --data table:nan.csv --steps 1", ["nan.csv"]),
    "NaN in an array": ("train gaussian --data array:nan.npy --steps 1", ["nan.npy", "(3, 1)"]),
    "negative steps": ("train made --steps -3", ["steps", "-3"]),
    "steps that are no number": ("train made --steps many", ["--steps takes INT", "'many'"]),
    "two budgets": ("train made --steps 3 --minutes 1", ["steps and minutes"]),
    "two budgets in a comparison": ("compare made --steps 3 --minutes 1", ["steps and minutes"]),
    "unknown option": ("train made --stps 3", ["--stps", "did you mean --steps"]),
    "unknown model option": ("train made --hiden 3", ["--hiden", "did you mean --hidden"]),
    "unknown data option": ("train gaussian --data array:good.npy --data.sied 3", ["--data.sied"]),
    "unknown choice": ("train made --schedule cosin", ["cosin", "cosine"]),
    "option without value": ("train made --data", ["--data"]),
    "extra word": ("train made vae --steps 1", ["vae"]),
    "existing folder": ("train made --steps 1 --out taken", ["taken exists", "creo resume taken", "--out"]),
    "no labels": ("train realnvp --data moons --conditional --steps 1", ["moons has no labels", "--conditional"]),
    "no run to resume": ("resume nowhere", ["nowhere does not exist"]),
    "not a run": ("sample taken", ["taken is not a run"]),
    "unknown shell": ("completion csh", ["csh", "bash"]),
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Good and bad files."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note").write_text("mine")
    rows = "".join(f"{i},{i * i % 7}\n" for i in range(200))
    (tmp_path / "nan.csv").write_text("a,b\n" + rows + "nan,inf\n")
    (tmp_path / "corrupt.npz").write_bytes(b"PK\x03\x04 this is no archive")
    x = np.random.default_rng(0).normal(size=(100, 2))
    np.save(tmp_path / "good.npy", x)
    x[3, 1] = np.nan
    np.save(tmp_path / "nan.npy", x)
    np.savez(tmp_path / "whole.npz", x=x)
    (tmp_path / "truncated.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:700])
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_one_line_and_status_2(case: str, creo, files: Path) -> None:
    before = sorted(files.rglob("*"))
    words, expected = CASES[case]
    said = creo(words)
    lines = said.err.splitlines()
    assert (said.status, said.out, len(lines)) == (2, "", 1), said
    assert lines[0].startswith("creo: error: ")
    assert not [text for text in expected if text not in lines[0]], lines[0]
    assert sorted(files.rglob("*")) == before


BAD_USES = {
    "no samples": ("sample RUN -n 0", ["at least 1", "-n 0"]),
    "no labels": ("sample RUN -n 2", ["conditional", "--c", "0, 1, 2"]),
    "unknown label": ("sample RUN -n 2 --c eleven", ["'eleven'", "0, 1, 2"]),
    "unknown suffix": ("sample RUN --c 1 --out x.jpeg", [".jpeg", ".png"]),
    "nowhere to write": ("sample RUN --c 1 --out no/x.png", ["no folder no"]),
    "unknown split": ("evaluate RUN --split tets", ["tets", "test"]),
    "finished": ("resume RUN", ["finished", "--steps"]),
    "taken": ("train made --steps 1 --out RUN", ["exists", "creo resume"]),
}


@pytest.mark.parametrize("case", BAD_USES)
def test_bad_use_of_a_run(case: str, creo, run: Path) -> None:
    words, expected = BAD_USES[case]
    before = sorted(run.rglob("*"))
    said = creo(words.replace("RUN", str(run)))
    assert (said.status, said.out, said.err.count("\n")) == (2, "", 1), said
    assert not [text for text in expected if text not in said.err], said.err
    assert sorted(run.rglob("*")) == before


def test_a_damaged_checkpoint_is_said_to_be_damaged(creo, run: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(run, tmp_path / "damaged")
    for file in (damaged / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    said = creo("sample", str(damaged), "--c", "1")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "damaged" in said.err
    assert not (tmp_path / "samples.png").exists()


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models of another package in the registry."""
    for name in ("Exploding", "Interrupted"):
        entry = Model(name.lower(), f"models_for_tests:{name}", {"Ordinal": "none"}, (), "", "", "for tests")
        monkeypatch.setitem(registry._MODELS, name.lower(), entry)


@pytest.mark.usefixtures("foreign")
def test_a_loss_that_is_not_finite_is_status_3(creo) -> None:
    said = creo("train", "exploding", "--steps", "9", "--no-progress", "--out", "run")
    assert (said.status, said.out) == (3, "")
    assert said.err.startswith("creo: error: ")
    assert said.err.count("\n") == 1
    assert "step 3" in said.err


@pytest.mark.usefixtures("foreign")
def test_ctrl_c_saves_and_says_how_to_go_on(creo) -> None:
    said = creo("train", "interrupted", "--at", "6", "--steps", "9", "--no-progress", "--out", "run")
    assert said.status == 130
    assert said.err == "creo: interrupted and saved; go on with: creo resume run\n"
    again = creo("resume", "run", "--no-progress", "--json")
    assert again.status == 0, again
    assert '"steps": 9' in again.out


@pytest.mark.usefixtures("foreign")
def test_a_model_option_named_like_a_setting_is_spelt_model(creo) -> None:
    said = creo("train", "exploding", "--help")
    assert "--model.steps INT" in said.out
    assert "--steps INT" in said.out


def test_debug_shows_the_traceback() -> None:
    from creo.cli.main import main
    from creo.errors import UnknownName

    with pytest.raises(UnknownName):
        main(["train", "relnvp", "--debug"])


def test_a_defect_is_status_1_and_says_how_to_see_more(creo, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oops\nsecond line")

    monkeypatch.setattr(registry, "models", broken)
    said = creo("models")
    assert (said.status, said.out) == (1, "")
    assert said.err == "creo: internal error: ZeroDivisionError: oops second line (--debug shows where)\n"
