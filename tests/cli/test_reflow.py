"""`creo reflow`: from a run of a flow to a run of a straighter one."""

import json

import pytest

import creo as package
from creo.cli.main import main


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    run = tmp_path_factory.mktemp("reflow") / "flow"
    words = f"train flow-matching --data moons --steps 150 --no-progress --out {run} --hidden 32 32"
    assert main(words.split()) == 0
    return run


def test_a_straighter_run_is_written_and_is_a_run_like_any_other(creo, flow):
    out = flow.parent / "straight"
    words = "--pairs 1000 --steps 200 --batch-size 128 --lr 5e-3 --n 200 --json --no-progress"
    said = creo("reflow", str(flow), f"--out {out} {words}")
    assert said.status == 0, said.err
    before, after = (row["crookedness"] for row in json.loads(said.out))
    assert after < 0.5 * before
    model = package.load(out)
    assert model.sample(3).shape == (3, 2)
    assert package.resume(out, steps=205, progress=False).steps == 205
    assert creo("reflow", str(flow), f"--out {out}").status == 2  # it exists


def test_only_flows_along_straight_lines(creo, tmp_path):
    for model, word in (("gaussian", "flow-matching"), ("vp-sde", "straight lines")):
        run = tmp_path / model
        assert main(f"train {model} --data moons --steps 1 --no-progress --out {run}".split()) == 0
        said = creo("reflow", str(run), f"--out {tmp_path / 'x'} --pairs 20 --steps 1")
        assert said.status == 2
        assert word in said.err
        assert not (tmp_path / "x").exists()
