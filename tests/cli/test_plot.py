"""`creo plot`: every picture of a run as a PNG file, by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from creo.cli.main import main


@pytest.fixture(scope="module")
def planar(tmp_path_factory: pytest.TempPathFactory):
    """A Gaussian of the plane, fitted exactly."""
    out = tmp_path_factory.mktemp("plot") / "run"
    assert main(f"train gaussian --data moons --steps 1 --no-progress --out {out}".split()) == 0
    return out


def test_all_pictures_of_a_run(creo, planar) -> None:
    said = creo("plot", str(planar))
    assert said.status == 0, said.err
    files = {p.stem: p for p in (planar / "plots").glob("*.png")}
    assert set(files) == {"samples", "density", "training"}
    assert said.out.split() == [
        str(planar / "plots" / f"{n}.png") for n in ("samples", "density", "training")
    ]


def test_the_density_is_the_models(planar) -> None:
    import creo
    from creo.evaluation.plots import SIDE, plane_density

    model, extent = creo.load(planar), (-2.0, 3.0, -1.5, 2.5)
    (image,) = plane_density(model, extent, creo.load_data("moons").test.head(10)[0]).axes[0].images
    shown = np.asarray(image.get_array())
    assert shown.shape == (SIDE, SIDE)
    corner = torch.tensor(
        [[-2 + 5 * 0.5 / SIDE, -1.5 + 4 * (SIDE - 0.5) / SIDE]]
    )  # top left: x1 small, x2 large
    assert shown[-1, 0] == pytest.approx(model.log_prob(corner).item(), abs=1e-4)


def test_only_what_was_asked_for(creo, planar, tmp_path) -> None:
    creo("plot", str(planar), "--picture density --out", str(tmp_path))
    assert [p.name for p in tmp_path.glob("*.png")] == ["density.png"]


def test_the_same_seed_draws_the_same(creo, planar, tmp_path) -> None:
    for name in ("a", "b"):
        creo("plot", str(planar), "--picture samples --seed 3 --out", str(tmp_path / name))
    a, b = (np.asarray(Image.open(tmp_path / name / "samples.png")) for name in ("a", "b"))
    assert (a == b).all()


def test_an_unknown_picture_lists_those_there_are(creo, planar) -> None:
    said = creo("plot", str(planar), "--picture densty")
    assert said.status == 2
    assert "did you mean 'density'" in said.err
    assert "known: samples, density, training" in creo("plot", str(planar), "--picture x").err
