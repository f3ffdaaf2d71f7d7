"""`compare` end to end with models that train in a blink: budget, resuming, failures, interruption, report."""

import json
import re
import shutil
from copy import deepcopy

import pytest

from creo import registry
from creo.errors import OptionError, RunError, UnknownName
from creo.evaluation import compare, run_report
from creo.evaluation.comparison import across
from creo.evaluation.side_by_side import NAME, specifications
from creo.evaluation.value import Value


@pytest.fixture(scope="module")
def coin(toys):
    """`coin` is a registered model while this file runs."""

    class Entry(registry.Model):
        def load(self):
            return toys.Coin

    entry = Entry("coin", "creo.classical.coin:Coin", {"Ordinal": "exact"}, (), "Nobody (1)", "", "a coin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._MODELS, "coin", entry)
        yield


def run(data, out, models=("coin",), **options):
    settings = {"steps": 30, "seeds": 2, "progress": False, "samples": 60, "lr": 0.1, "batch_size": 32}
    return compare(models, data, out=out, **(settings | options))


@pytest.fixture(scope="module")
def done(coin, pictures, tmp_path_factory):
    """A finished comparison; tests that change it take a `copy`."""
    models = {"coin": "coin", "poisoned": ("coin", {"poison": True})}
    return run(pictures, tmp_path_factory.mktemp("compare") / "cmp", models)


@pytest.fixture
def copy(done, tmp_path):
    shutil.copytree(done.path, tmp_path / "cmp")
    again = deepcopy(done)
    again.path = tmp_path / "cmp"
    return again


def test_models_seeds_baseline_and_failures(done):
    assert done.labels == ["coin", "poisoned", NAME]
    assert [e.seed for e in done.of("coin")] == [0, 1]
    assert len(done.of(NAME)) == 1
    nll = done.values("coin")["NLL"]
    assert nll.seeds == 2
    seeds = [e.evaluation["NLL"].value for e in done.of("coin")]
    assert nll.value.value == pytest.approx(sum(seeds) / 2)
    assert nll.spread == pytest.approx(abs(seeds[0] - seeds[1]) / 2**0.5)
    assert "NonFinite" in done.failure("poisoned")
    assert done.values("poisoned") == {}
    assert done.best("NLL") <= {"coin", NAME}
    assert len(done.best("NLL")) == 1
    assert done.best("parameters") == set()


def test_what_is_written(done):
    results = json.loads((done.path / "results.json").read_text())
    assert {r["model"]: bool(r["failure"]) for r in results["summary"]} == {
        "coin": False, "poisoned": True, NAME: False,
    }  # fmt: skip
    assert len(results["entries"]) == 5
    about = results["about"]
    assert about["budget"] == "30 steps"
    assert about["content"]
    assert about["machine"]["torch"]
    folder = done.path / "coin" / "seed-1"
    assert (folder / "config.yaml").is_file()
    assert json.loads((folder / "evaluation.json").read_text())["about"]["training"]["steps"] == 30
    assert "NonFinite" in json.loads((done.path / "poisoned/seed-0/failure.json").read_text())["failure"]


def test_the_report_is_one_file_that_asks_nothing(done):
    text = (done.path / "report.html").read_text()
    assert len(text) < 3_000_000
    assert not re.search(r"<script|<link|@import|url\(|https?://", text)
    assert set(re.findall(r'src="(.{10})', text)) == {"data:image"}
    for part in (
        "At a glance",
        "Learning curves",
        "real data",
        NAME,
        "failed: NonFinite",
        "30 steps",
        "&plusmn;",
    ):
        assert part in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("<td") > 20
    assert "$" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S)


def test_finished_runs_are_kept_and_new_ones_added(copy, pictures):
    file = copy.path / "coin/seed-0/evaluation.json"
    before, numbers = file.stat().st_mtime_ns, copy.values("coin")["NLL"].value.value
    again = run(pictures, copy.path, ["coin"], seeds=[0, 1, 2])
    assert file.stat().st_mtime_ns == before
    assert len(again.of("coin")) == 3
    assert [e.evaluation["NLL"].value for e in again.of("coin")[:2]] == [
        e.evaluation["NLL"].value for e in copy.of("coin")
    ]
    assert again.values("coin")["NLL"].value.value != numbers
    assert again.of("coin")[0].history


def test_another_comparison_is_not_overwritten(done, pictures, tmp_path):
    with pytest.raises(RunError, match="settings was"):
        run(pictures, done.path, steps=31)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="not a comparison"):
        run(pictures, tmp_path / "other")


def test_interruption_keeps_what_is_done(coin, toys, pictures, tmp_path, monkeypatch, capsys):
    calls = []
    log_prob = toys.Coin.log_prob

    def stop_later(self, x, c=None):
        calls.append(1)
        if len(calls) == 60:  # in the middle of the second run
            raise KeyboardInterrupt
        return log_prob(self, x, c)

    with monkeypatch.context() as patch:
        patch.setattr(toys.Coin, "log_prob", stop_later)
        with pytest.raises(KeyboardInterrupt):
            run(pictures, tmp_path / "cmp", steps=20)
    results = json.loads((tmp_path / "cmp/results.json").read_text())
    kept = [e["seed"] for e in results["entries"] if e["model"] == "coin"]
    assert kept == [0]
    assert "goes on from there" in capsys.readouterr().err
    finished = run(pictures, tmp_path / "cmp", steps=20)
    assert [e.seed for e in finished.of("coin")] == [0, 1]
    straight = run(pictures, tmp_path / "straight", steps=20)
    for a, b in zip(finished.of("coin"), straight.of("coin"), strict=True):
        assert a.evaluation["NLL"].value == b.evaluation["NLL"].value


def test_a_model_that_cannot_is_a_row(coin, plane, tmp_path):
    found = run(plane, tmp_path / "cmp", ["coin", "gaussian"], seeds=1)
    assert "cannot model Continuous" in found.failure("coin")
    assert found.values("gaussian")["KL"].value.value < 0.1
    assert NAME not in found.labels
    assert "KL" in found.columns()


def test_what_is_asked_for_is_checked_first(coin, pictures, tmp_path):
    with pytest.raises(UnknownName, match="coin"):
        run(pictures, tmp_path / "a", ["coinn"])
    with pytest.raises(OptionError, match="twice"):
        specifications(["coin", "coin"])
    with pytest.raises(OptionError, match="budget"):
        run(pictures, tmp_path / "a", steps=None)
    with pytest.raises(OptionError, match="budget"):
        run(pictures, tmp_path / "a", minutes=1)
    with pytest.raises(OptionError, match="no setting"):
        run(pictures, tmp_path / "a", learning_rate=1)
    with pytest.raises(OptionError, match="seed"):
        run(pictures, tmp_path / "a", seeds=0)
    with pytest.raises(OptionError, match="at least one model"):
        run(pictures, tmp_path / "a", [])
    assert not (tmp_path / "a").exists()
    labelled = specifications([("coin", {"poison": True}), "coin"])
    assert list(labelled) == ["coin poison=True", "coin"]


def test_seeds_of_another_protocol_are_not_averaged():
    with pytest.raises(OptionError, match="n: 10 against 20"):
        across([Value("NLL", 1.0, n=10), Value("NLL", 2.0, n=20)])


def test_estimates_are_not_marked_best(copy):
    for entry in copy.of("coin"):
        values = [v for v in entry.evaluation.values if v.name != "NLL"]
        entry.evaluation.values = [
            *values,
            Value(**{**vars(entry.evaluation["NLL"]), "kind": "~", "value": 0.0}),
        ]
    assert "coin" not in copy.best("NLL")


def test_the_report_of_one_run(copy):
    path = run_report(copy.path / "coin" / "seed-0")
    text = path.read_text()
    assert path.name == "report.html"
    assert not re.search(r"<script|<link|https?://", text)
    for part in (
        "coin on bright",
        "Evaluation",
        "Training",
        "Samples while it learned",
        "30 steps",
        "bits/dim",
    ):
        assert part in text
    with pytest.raises(RunError, match="not a run"):
        run_report(copy.path)


def test_the_baseline_can_be_left_out(coin, pictures, tmp_path):
    assert NAME not in run(pictures, tmp_path / "b", seeds=1, baseline=False).labels
