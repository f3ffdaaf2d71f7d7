"""The commands end to end, in this process, on the embedded digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from creo.cli import COMMANDS
from creo.data import catalogue, load_data
from creo.registry import models
from creo.training import load


@pytest.mark.parametrize("words", ["", "--help", "-h", "help"])
def test_help_lists_every_command(creo, words: str) -> None:
    said = creo(words)
    assert said.status == 0
    for name in COMMANDS:
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in said.out.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(creo, name: str) -> None:
    said = creo(name, "--help")
    assert (said.status, said.err) == (0, "")
    assert f"usage: creo {name}" in said.out


def test_version(creo) -> None:
    from creo import __version__

    assert creo("--version").out == f"creo {__version__}\n"


def test_models_are_listed_for_people_and_programs(creo) -> None:
    lines = creo("models").out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *models()]
    assert "exact Continuous; bound Ordinal" in next(line for line in lines if line.startswith("gaussian"))
    listed = json.loads(creo("models", "--json").out)
    assert {m["name"]: m["promise"] for m in listed} == {n: dict(m.promise) for n, m in models().items()}
    assert {"family", "answers", "paper", "url", "summary", "path"} <= listed[0].keys()


def test_data_sets_are_listed_for_people_and_programs(creo) -> None:
    assert [line.split()[0] for line in creo("data").out.splitlines()] == ["name", *catalogue()]
    assert [d["name"] for d in json.loads(creo("data", "--json").out)] == list(catalogue())


def test_help_of_a_model_has_its_options_typed_with_defaults(creo) -> None:
    out = " ".join(creo("train", "made", "--help").out.replace("│", " ").split())
    assert "usage: creo train made" in out
    assert "Germain" in out
    assert "--hidden [INT [INT ...]] units of each masked hidden layer" in out
    assert "--batch-size INT examples per update" in out
    assert "model options" in out
    assert "training options" in out


def test_help_of_data_has_its_options(creo) -> None:
    out = creo("train", "made", "--data", "text:x", "--help").out
    assert "data options" in out
    assert "--data.length INT" in out


def test_train_numbers_runs_and_keeps_options(creo) -> None:
    words = "train made --hidden 8 4 --steps 1 --batch-size 32 --lr 1e-2 --seed 5 --no-progress"
    assert creo(words).out == "runs/made-digits-001\n"
    said = creo(words, "--json")
    assert json.loads(said.out) | {"seconds": 0, "best": 0} == {
        "run": "runs/made-digits-002", "stopped": "budget", "steps": 1, "seconds": 0, "best": 0,
    }  # fmt: skip
    assert said.err == ""
    assert "made" in Path("runs/made-digits-002/report.html").read_text()
    config = yaml.safe_load(Path("runs/made-digits-002/config.yaml").read_text())
    assert config["model"]["options"] == {"hidden": [8, 4]}
    assert config["settings"] | {"steps": 1, "batch_size": 32, "lr": 0.01, "seed": 5} == config["settings"]


def test_the_seed_decides_the_first_weights_too(creo) -> None:
    """Two runs with one seed end with the same bits, whatever the generator was before."""
    import torch

    files = []
    for name in ("a", "b"):
        torch.manual_seed(len(files))
        said = creo(f"train made --hidden 8 --steps 2 --seed 3 --no-progress --out {name}")
        assert said.status == 0, said
        files.append(max(Path(name, "checkpoints").glob("step-*")))
    from creo.training import checkpoint

    (first, _), (second, _) = (checkpoint.read(f) for f in files)
    weights = [k for k in first if k.startswith("model.")]
    assert weights
    assert all(torch.equal(first[k], second[k]) for k in weights)


def test_resume_goes_on_to_a_larger_budget(creo) -> None:
    creo("train made --hidden 8 --steps 2 --no-progress --out a")
    said = creo("resume a --steps 4 --no-progress --json")
    assert json.loads(said.out)["steps"] == 4


def test_options_of_data_reach_the_loader(creo, tmp_path: Path) -> None:
    (tmp_path / "abc.txt").write_text("abcab" * 400)
    said = creo("train made --hidden 8 --steps 1 --no-progress --data text:abc.txt --data.length 6 --out t")
    assert said.status == 0, said
    config = yaml.safe_load((tmp_path / "t" / "config.yaml").read_text())
    assert config["model"]["space"]["length"] == 6
    assert creo("sample", "t", "-n", "3", "--out", "t.txt").status == 0
    assert len((tmp_path / "t.txt").read_text().splitlines()) == 3


def test_sample_takes_labels_in_turn_and_a_seed(creo, run: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = f"sample {run} -n 5 --seed {seed} --c 3 4 --out {name}.npz"
        assert creo(words).out == f"{name}.npz\n"
    a, b, c = (np.load(tmp_path / f"{name}.npz") for name in "abc")
    assert a["c"].tolist() == [3, 4, 3, 4, 3]
    assert a["x"].shape == (5, 1, 8, 8)
    assert (a["x"] == b["x"]).all()
    assert (a["x"] != c["x"]).any()
    assert creo("sample", str(run), "-n", "2", "-c", "1").out == "samples.png\n"
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_prints_what_evaluate_returns(creo, run: Path) -> None:
    words = ("evaluate", str(run), "--split", "valid", "-n", "50", "--json")
    found = json.loads(creo(*words).out)
    values = {v["name"]: v for v in found["values"]}
    x, c = load_data("digits").valid.head(350)
    truth = -load(run).log_prob(x, c).mean().item()
    assert values["NLL"]["value"] == pytest.approx(truth, rel=1e-5)
    assert (values["NLL"]["split"], values["NLL"]["n"]) == ("valid", 350)
    assert values["training time"]["value"] > 0
    assert not (run / "evaluation.json").exists()


def test_evaluate_for_people_and_report(creo, run: Path) -> None:
    said = creo("evaluate", str(run), "-n", "50", "--save")
    assert said.status == 0, said
    assert "NLL" in said.out
    assert "nats" in said.out
    assert creo("report", str(run)).out == f"{run}/report.html\n"
    assert "C2ST" in (run / "report.html").read_text()
    (run / "evaluation.json").unlink()


def test_compare_writes_a_report(creo, tmp_path: Path) -> None:
    words = "compare gaussian made --data digits --steps 2 --seeds 1 --samples 40 --no-progress --json"
    said = creo(words)
    assert said.status == 0, said
    found = json.loads(said.out)
    assert [row["model"] for row in found["summary"]][:2] == ["gaussian", "made"]
    assert all(row["failure"] == "" for row in found["summary"])
    assert (tmp_path / "runs/compare-digits-001/report.html").is_file()


def test_demo_is_a_comparison_of_six_models(creo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asks for; the comparison itself is tested above."""
    from creo import evaluation

    asked: list[tuple[list[str], dict]] = []
    monkeypatch.setattr(evaluation, "compare", lambda names, data, **how: asked.append((names, how)))
    assert creo("demo").out == "report: runs/demo/report.html\n"
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    assert creo("demo", "--minutes", "0.1").out == "report: runs/demo-001/report.html\n"
    names, how = asked[0]
    assert names == ["gaussian", "mixture", "made", "realnvp", "vae", "gan"]
    assert how == {"out": Path("runs/demo"), "minutes": 0.5, "seeds": 1}
    assert len(names) * how["minutes"] < 5
    assert asked[1][1]["minutes"] == 0.1
