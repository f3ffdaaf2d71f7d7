"""`creo evaluate` of samples made elsewhere, `--features`, and `creo outliers`, in this process."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from creo.data import load_data


@pytest.fixture
def drawn(tmp_path):
    """Test digits as an array, as somebody else's model might have drawn them."""
    x = load_data("digits").test.x.numpy()
    np.savez(tmp_path / "drawn.npz", x)
    return x


def values(said):
    assert (said.status, said.err) == (0, "")
    return {v["name"]: v for v in json.loads(said.out)["values"]}


def test_samples_of_a_file(creo, drawn) -> None:
    found = values(creo("evaluate --samples drawn.npz --data digits -n 200 --json"))
    assert found["FD"]["value"] == pytest.approx(0.0, abs=1e-6)  # they are the held-out data themselves
    assert found["precision"]["value"] == 1.0
    assert "NLL" not in found
    assert found["FD"]["protocol"]["features"] == "standardised"
    noise = np.random.default_rng(0).integers(0, 17, (300, 8, 8, 1))  # colours last
    np.savez("noise.npz", x=noise)
    assert values(creo("evaluate --samples noise.npz --data digits -n 200 --json"))["FD"]["value"] > 1


def test_samples_of_a_folder(creo, tmp_path) -> None:
    rng = np.random.default_rng(0)
    for folder, size in (("real", 8), ("drawn", 8), ("large", 9)):
        (tmp_path / folder).mkdir()
        for i in range(200 if folder == "real" else 30):
            grey = rng.integers(0, 256, (size, size), dtype=np.uint8)
            Image.fromarray(np.stack([grey] * 3, 2)).save(tmp_path / folder / f"{i:03d}.png")
    found = values(creo("evaluate --samples drawn --data images:real,mode=grey --features pixels --json"))
    assert found["FD"]["protocol"]["features"] == "pixels"
    assert found["FD"]["protocol"]["samples"] == 30
    said = creo("evaluate --samples large --data images:real")
    assert said.status == 2
    assert "000.png is 9 x 9; the data are 8 x 8" in said.err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ({"x": np.full((20, 1, 8, 8), np.nan)}, "takes whole levels; received real numbers"),
        ({"x": np.full((20, 1, 8, 8), 300)}, "holds 0..16"),
        ({"x": np.zeros((20, 7, 8), np.int64)}, "must have shape (B, 1, 8, 8)"),
        ({"x": np.zeros((1, 1, 8, 8), np.int64)}, "at least 2"),
        ({"x": np.zeros((4, 1, 8, 8), np.int64)}, "more than k=5 rows"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "call the samples x"),
        ({"x": np.array(["a"])}, "must be numbers"),
    ],
)
def test_unfit_samples_get_one_line(creo, tmp_path, make, message) -> None:
    np.savez(tmp_path / "s.npz", **make)
    said = creo("evaluate --samples s.npz --data digits")
    text = said.err if said.status else said.out
    assert message in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate", "evaluate a run"),
        ("evaluate --samples empty", "say with --data"),
        ("evaluate --samples empty --data digits", "pictures have 256 levels"),
        ("evaluate --samples nothing.npz --data digits", "No such file"),
        ("evaluate --samples nothing --data digits", "nothing there"),
        ("evaluate --samples empty --data images:real", "empty: no picture in it"),
        ("evaluate --samples empty --data digits --save", "--save keeps"),
        ("evaluate --samples empty --data digits -n 3", "at least 10"),
    ],
)
def test_wrong_calls_get_one_line(creo, tmp_path, words, message) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "real").mkdir()
    for i in range(30):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / "real" / f"{i}.png")
    said = creo(words)
    assert said.status == 2
    assert message in said.err
    assert said.err.count("\n") == 1


def test_a_run_by_other_features(creo, run) -> None:
    found = values(creo("evaluate", str(run), "-n 60 --features random-convnet --json"))
    assert found["KID"]["protocol"]["features"] == "random-convnet"
    assert "did you mean 'pixels'" in creo("evaluate", str(run), "--features pixel").err


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory):
    from creo.cli.main import main

    out = tmp_path_factory.mktemp("outliers") / "run"
    words = f"train made --hidden 8 --data digits --steps 200 --no-progress --out {out}"
    assert main(words.split()) == 0
    return out


def test_outliers(creo, unconditional, run, tmp_path) -> None:
    noise = np.full((200, 1, 8, 8), 16)
    np.savez(tmp_path / "noise.npz", train=noise, valid=noise, test=noise)
    said = creo("outliers", str(unconditional), "--against array:noise.npz,levels=17 -n 150 --json")
    assert said.status == 0
    found = {v["name"]: v for v in json.loads(said.out)}
    assert set(found) == {"AUROC[log_prob]", "AUROC[typicality]", "AUROC[ratio]"}
    assert found["AUROC[log_prob]"]["value"] > 0.9
    assert found["AUROC[log_prob]"]["protocol"]["against"] == "array:noise.npz,levels=17"
    same = creo("outliers", str(unconditional), "--against digits -n 150 --json")
    assert all(v["value"] == 0.5 for v in json.loads(same.out))
    plain = creo("outliers", str(unconditional), "--against digits -n 100")
    assert "log_prob" in plain.out
    assert "digits (test) against digits, n=200" in plain.out
    assert "in one space" in creo("outliers", str(unconditional), "--against moons").err
    assert "conditional" in creo("outliers", str(run), "--against digits").err
    assert "at least 2" in creo("outliers", str(unconditional), "--against digits -n 1").err
