"""`creo encode`, `creo decode`, `creo interpolate`: what is written is what the model says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import creo
from creo.cli.main import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """A conditional VAE of tiny digits."""
    out = tmp_path_factory.mktemp("codes") / "run"
    words = (
        f"train vae --data digits --conditional --steps 20 --latent 3 --hidden 16 --no-progress --out {out}"
    )
    assert main(words.split()) == 0
    return out


def said(capsys: pytest.CaptureFixture[str], words: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(words.split())
    return status, capsys.readouterr().err


def test_codes_are_the_models_and_come_back(run, tmp_path, capsys):
    codes, back = tmp_path / "codes.npz", tmp_path / "back.npz"
    assert said(capsys, f"encode {run} --n 300 --out {codes}")[0] == 0
    model, test = creo.load(run), creo.load_data("digits").test
    x, c = test.head(300)
    with np.load(codes) as file:
        assert set(file) == {"z", "c"}
        with torch.no_grad():
            np.testing.assert_allclose(file["z"], model.encode(x, c).numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(file["c"], c.numpy())
        z = torch.from_numpy(file["z"])
    assert said(capsys, f"decode {run} {codes} --n 5 --out {back}")[0] == 0
    with np.load(back) as file, torch.no_grad():
        np.testing.assert_array_equal(file["x"], model.decode(z[:5], c[:5]).numpy())
        np.testing.assert_array_equal(file["c"], c[:5].numpy())
    assert said(capsys, f"decode {run} {codes} --n 4 --c 7 --out {back}")[0] == 0
    with np.load(back) as file:
        assert (file["c"] == 7).all()


def test_interpolation_is_a_row_for_each_pair_with_the_ends_in_place(run, tmp_path, capsys):
    picture = tmp_path / "path.png"
    for path in ("linear", "spherical"):
        assert said(capsys, f"interpolate {run} --path {path} --n 3 --steps 5 --out {picture}")[0] == 0
        width, height = Image.open(picture).size
        assert abs(width / height - 5 / 3) < 0.1
    archive = tmp_path / "path.npz"
    assert said(capsys, f"interpolate {run} --n 2 --steps 4 --seed 3 --out {archive}")[0] == 0
    model, test = creo.load(run), creo.load_data("digits").test
    with creo.model.seeded(3), torch.no_grad():
        x, c = test.take(torch.randint(len(test), (4,)))
        first, last = model.decode(model.encode(x, c)[:2], c[:2]), model.decode(model.encode(x, c)[2:], c[:2])
    with np.load(archive) as file:
        rows = file["x"].reshape(2, 4, *test.store.shape[1:])
    np.testing.assert_array_equal(rows[:, 0], first.numpy())
    np.testing.assert_array_equal(rows[:, -1], last.numpy())


def test_errors_are_one_line_and_say_what_to_do(run, tmp_path, capsys):
    status, line = said(capsys, f"encode {run} --out {tmp_path / 'codes.csv'}")
    assert (status, line) == (
        2,
        f"creo: error: --out is an .npz file in a folder that exists; received {tmp_path / 'codes.csv'}\n",
    )
    status, line = said(capsys, f"decode {run} {tmp_path / 'none.npz'}")
    assert status == 2
    assert "no file" in line
    bad = tmp_path / "bad.npz"
    np.savez(bad, y=np.zeros(3))
    status, line = said(capsys, f"decode {run} {bad} --out {tmp_path / 'a.png'}")
    assert status == 2
    assert "has no array z of codes" in line
    np.savez(bad, z=np.zeros((3, 7), np.float32))
    status, line = said(capsys, f"decode {run} {bad} --c 1 --out {tmp_path / 'a.png'}")
    assert status == 2
    assert "codes (3, 7)" in line
    assert line.count("\n") == 1
    plain = tmp_path / "plain"
    assert main(f"train gaussian --data moons --steps 1 --no-progress --out {plain}".split()) == 0
    status, line = said(capsys, f"encode {plain} --out {tmp_path / 'codes.npz'}")
    assert status == 2
    assert "Gaussian has no codes; `creo models` says which models answer encode" in line
