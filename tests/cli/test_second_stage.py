"""`creo train MODEL --on RUN` and what can be done with such a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def first(creo) -> str:
    words = (
        "train vqvae --codes 8 --channels 8 --blocks 1 --steps 3 --no-progress --sample-every 0 --out first"
    )
    assert creo(words).status == 0
    return "first"


def test_a_second_stage_in_one_command(creo, first: str) -> None:
    said = creo(f"train gated-pixelcnn --on {first} --steps 2 --no-progress")
    assert (said.status, said.out) == (0, "runs/gated-pixelcnn-on-first-001\n"), said
    run = Path("runs/gated-pixelcnn-on-first-001")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["on"]["run"] == "../../first"
    assert config["data"]["spec"] == "digits"
    assert creo(f"sample {run} -n 3 --out s.npz").status == 0
    assert creo(f"resume {run} --steps 3 --no-progress").status == 0
    assert "<=" in creo(f"evaluate {run} -n 20").out
    assert creo(f"plot {run} --picture code-maps --n 8").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--on nowhere", "nowhere does not exist"),
        ("--on first --data mnist", "leave out --data"),
        ("--on made", "has no codes"),
    ],
)
def test_errors_are_one_line_and_status_2(creo, first: str, words: str, said: str) -> None:
    creo("train made --hidden 8 --steps 1 --no-progress --sample-every 0 --out made")
    found = creo(f"train made {words} --steps 1 --no-progress")
    assert found.status == 2
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1
