"""What must be instant imports neither torch nor the table and parser libraries; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "numpy", "scipy", "sklearn", "matplotlib", "yaml", "pandas")


def loaded(words: str) -> set[str]:
    """The modules a command has imported when it is done."""
    code = (
        "import sys; from creo.cli.main import main; status = main(sys.argv[1:]); "
        "print('\\n' + ' '.join(sys.modules)); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True)
    assert done.returncode in (0, 2), done.stderr
    return set(done.stdout.splitlines()[-1].split())


INSTANT = [
    "--help",
    "--version",
    "models",
    "models --json",
    "data",
    "completion bash",
    "__complete train made --",
    "train made --help",
    "compare --help",
    "trian",
    "train relnvp",
    "train made --stps 3",
    "resume nowhere --stps 3",
    f"train made --out {Path(__file__).parent}",
]


@pytest.mark.parametrize("words", INSTANT)
def test_no_torch(words: str) -> None:
    assert not loaded(words) & set(HEAVY)


@pytest.mark.parametrize("words", ["--help", "--version", "__complete train real"])
def test_no_parser_either(words: str) -> None:
    assert not loaded(words) & {"tyro", "rich", "docstring_parser"}


def test_a_closed_pipe_is_quiet() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "creo", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    assert program.stderr.read() == ""
    assert program.wait() == 141


def test_as_a_module_with_its_exit_status() -> None:
    done = subprocess.run([sys.executable, "-m", "creo", "trian"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("creo: error: no command 'trian'")
