"""`creo guide-sweep`: a picture and the numbers of a conditional run at several scales."""

import json

from PIL import Image

from creo.cli.main import main


def test_a_sweep_writes_its_curve_and_numbers(creo, tmp_path):
    run = tmp_path / "run"
    assert (
        main(f"train flow-matching --data digits --conditional --steps 30 --no-progress --out {run}".split())
        == 0
    )
    said = creo("guide-sweep", str(run), "--scale 0 1 3 -n 24 --steps 3")
    assert said.status == 0, said.err
    found = json.loads((run / "plots" / "guide-sweep.json").read_text())
    assert [row["scale"] for row in found["rows"]] == [0, 1, 3]
    assert found["features"] == "digits-cnn"
    assert all(0 <= row[k] <= 1 for row in found["rows"] for k in ("accuracy", "precision", "recall"))
    assert len({row["FD"] for row in found["rows"]}) == 3  # scales make a difference
    assert Image.open(run / "plots" / "guide-sweep.png").width > 500


def test_a_run_without_condition_is_refused(creo, tmp_path):
    run = tmp_path / "run"
    assert main(f"train gaussian --data moons --steps 1 --no-progress --out {run}".split()) == 0
    said = creo("guide-sweep", str(run))
    assert said.status == 2
    assert "--conditional" in said.err
