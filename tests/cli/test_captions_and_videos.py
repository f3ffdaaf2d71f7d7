"""Captions and videos from the command line: trained, asked for in words, continued, written as files that move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from creo.cli.main import main
from creo.data import load_data
from creo.data.film import FRAME, LAST

SMALL = "--network mlp --hidden 8 --steps 1 --batch-size 16 --likelihood-steps 4 --no-progress"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on captions, one of continuations."""
    folder = tmp_path_factory.mktemp("runs")
    for name, data in (("captions", "digits-captions"), ("videos", "moving-digits,given=6")):
        words = f"train flow-matching --data {data} --conditional {SMALL} --out {folder}/{name}"
        assert main(words.split()) == 0
    return folder


def test_captions_are_taken_as_they_are_said(creo, runs: Path, tmp_path: Path) -> None:
    words = ["--c", "a small seven", "Large, bold two on the left."]
    assert (
        main(
            [
                "sample",
                f"{runs}/captions",
                "-n",
                "3",
                "--steps",
                "2",
                "--guidance",
                "3",
                "--out",
                "a.npz",
                *words,
            ]
        )
        == 0
    )
    saved = np.load(tmp_path / "a.npz")
    symbols = load_data("digits-captions").condition.symbols
    said = [" ".join(symbols[i] for i in row if i) for row in saved["c"]]
    assert said == ["a small seven", "large bold two on the left", "a small seven"]
    assert saved["x"].shape == (3, 1, 16, 16)


def test_unknown_words_and_missing_captions_are_named(creo, runs: Path) -> None:
    said = creo(f"sample {runs}/captions --c smal")
    assert said.status == 2
    assert "no word 'smal' in these captions; did you mean 'small'?" in said.err
    said = creo(f"sample {runs}/captions")
    assert "captions of the words small, little, tiny" in said.err


def test_continuations_of_test_videos_become_a_gif(creo, runs: Path, tmp_path: Path) -> None:
    assert creo(f"sample {runs}/videos -n 4 --c test --steps 2 --out a.gif").out == "a.gif\n"
    assert creo(f"sample {runs}/videos -n 4 --c test --steps 2 --out a.npz").status == 0
    assert np.array_equal(
        np.load(tmp_path / "a.npz")["c"], load_data("moving-digits,given=6").test.c[:4].numpy()
    )
    movie, shown = Image.open(tmp_path / "a.gif"), 0.0
    for t in range(movie.n_frames):  # equal frames in a row are one
        movie.seek(t)
        shown += movie.info["duration"]
    assert shown == 7 * FRAME + LAST
    said = creo(f"sample {runs}/videos --c 3")
    assert "--c takes test for those of held-out examples" in said.err


def test_options_that_a_model_has_not_are_refused(creo, run: Path) -> None:
    said = creo(f"sample {run} --c 3 --guidance 2")
    assert said.status == 2
    assert "samples of MADE have no --guidance" in said.err
