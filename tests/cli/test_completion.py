"""What the shell may complete, and the scripts that ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from creo.cli import COMMANDS
from creo.cli.completion import words_for
from creo.data import catalogue
from creo.registry import models


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", [*COMMANDS, "--help", "--version"]),
        ("tr", ["train"]),
        ("train ", list(models())),
        ("train real", ["realnvp"]),
        ("train made --data fashion-mnist-binary", ["fashion-mnist-binary", "fashion-mnist-binary-fixed"]),
        ("train made --data ", list(catalogue())),
        ("train made --hid", ["--hidden"]),
        ("train made --eval", ["--eval-every"]),
        ("train made --schedule ", ["cosine", "constant"]),
        ("train made --data text:x --data.le", ["--data.length"]),
        ("train made --compile --sched", ["--schedule"]),
        ("train nothing --sched", []),
        ("train made --out ", []),
        ("compare made realn", ["realnvp"]),
        ("compare made --see", ["--seeds"]),
        ("resume --st", ["--steps"]),
        ("evaluate runs/x --split t", ["train", "test"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("nothing ", []),
    ],
)
def test_words(typed: str, expected: list[str]) -> None:
    assert words_for(typed.split(" ")) == expected


def test_run_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a-1", "runs/b-1", "elsewhere/a-2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "runs/no-run").mkdir()
    assert words_for(["resume", ""]) == ["runs/a-1", "runs/b-1"]
    assert words_for(["sample", "runs/b"]) == ["runs/b-1"]
    assert words_for(["sample", "elsewhere/"]) == ["elsewhere/a-2"]
    assert words_for(["sample", f"{tmp_path}/runs/a"]) == [f"{tmp_path}/runs/a-1"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_bash_script_completes(creo, tmp_path: Path) -> None:
    program = tmp_path / "creo"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m creo "$@"\n')
    program.chmod(0o755)
    script = creo("completion", "bash").out
    ask = 'COMP_WORDS=(creo train real); COMP_CWORD=2; _creo "$0" real train; printf "%s|" "${COMPREPLY[@]}"'
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    shell = subprocess.run(
        ["bash", "-c", f"{script}\n{ask}", str(program)], capture_output=True, text=True, env=env, check=True
    )
    assert shell.stdout == "realnvp|"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_scripts_parse(creo, shell: str) -> None:
    script = creo("completion", shell).out
    assert "__complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run(
        [shell, "-n", "-c" if shell == "zsh" else "/dev/stdin", script], input=script, text=True, check=True
    )
