"""A run killed at any moment and resumed ends with the bits of the run that was never killed."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import creo
from creo.errors import CorruptCheckpoint, OptionError, RunError
from creo.model import seeded
from creo.training import RunFolder, checkpoint
from creo.training.trainer import Trainer

SCRIPT = Path(__file__).parent / "kill_me.py"


def end_of(run):
    """Everything the last checkpoint holds but the clock, and the metrics without their times."""
    tensors, state, _ = RunFolder(run).newest()
    state = {k: v for k, v in state.items() if "seconds" not in k}
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in RunFolder(run).rows()]
    return tensors, state, rows


def assert_same_end(a, b):
    (ta, sa, ra), (tb, sb, rb) = end_of(a), end_of(b)
    assert sa == sb
    assert ra == rb
    assert ta.keys() == tb.keys()
    different = [name for name in ta if not torch.equal(ta[name], tb[name])]
    assert not different
    best_a, best_b = (checkpoint.read(RunFolder(r).best)[0] for r in (a, b))
    assert all(torch.equal(best_a[n], best_b[n]) for n in best_a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits):
    """The run that is never killed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with seeded(0):
        model = creo.build("denoiser", digits.space)
    creo.fit(model, digits, steps=600, out=out, eval_every=40, log_every=20, progress=False, threads=1)
    return out


@pytest.mark.slow
def test_killed_at_random_moments(whole, tmp_path):
    """Three kills, fewer if the machine is so quick that the run is done before the next one."""
    out, chance, statuses = tmp_path / "run", random.Random(0), []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(out), "600"], stderr=subprocess.PIPE)
        _wait_until_it_trains(process, out)
        time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        statuses.append(process.wait())
        if statuses[-1] == 0:
            break
    assert statuses[0] == -9
    if statuses[-1] != 0:
        last = subprocess.run(
            [sys.executable, str(SCRIPT), str(out), "600"], stderr=subprocess.PIPE, check=False
        )
        assert last.returncode == 0, last.stderr.decode()
    assert_same_end(out, whole)


def _wait_until_it_trains(process, out):
    """Most of such a process's life is imports; wait until the run's files move."""
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")} if out.exists() else {}
    while process.poll() is None:
        now = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.exists()} if out.exists() else {}
        if now != before:
            return
        time.sleep(0.01)


@pytest.mark.parametrize("at", [0, 1, 37, 40, 200, 599])
def test_resumed_from_any_checkpoint(whole, tmp_path, digits, monkeypatch, at):
    """A run whose last checkpoint is at round `at` and that dies 45 rounds later, in this process."""
    out = tmp_path / "run"
    with seeded(0):
        model = creo.build("denoiser", digits.space)

    class Killed(BaseException):
        pass

    class Fragile(Trainer):
        def round(self):
            if self.state.step == at:
                self.save()
            if self.state.step == min(at + 45, 599):
                raise Killed
            super().round()

    monkeypatch.setattr(sys.modules["creo.training.run"], "Trainer", Fragile)
    with pytest.raises(Killed):
        creo.fit(model, digits, steps=600, out=out, eval_every=40, log_every=20, progress=False, threads=1)
    monkeypatch.undo()
    assert RunFolder(out).newest()[1]["step"] == at
    run = creo.resume(out, progress=False)
    assert run.steps == 600
    assert_same_end(out, whole)


def test_two_players_resume_exactly(tmp_path, digits):
    def duel(steps, out):
        with seeded(0):
            model = creo.build("duel", digits.space)
        settings = {"schedule": "constant", "log_every": 7, "progress": False, "sample_every": 0, "ema": 0.9}
        return creo.fit(model, digits, steps=steps, out=out, **settings)

    duel(100, tmp_path / "whole")
    duel(37, tmp_path / "halves")
    creo.resume(tmp_path / "halves", steps=100, progress=False)
    (ta, _, _), (tb, _, _) = end_of(tmp_path / "whole"), end_of(tmp_path / "halves")
    assert all(torch.equal(ta[n], tb[n]) for n in ta)


def damage_newest(run):
    newest = RunFolder(run).checkpoints()[0]
    newest.write_bytes(newest.read_bytes()[:-9])
    return newest


def test_a_damaged_newest_checkpoint_is_passed_over(whole, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    assert len(RunFolder(out).checkpoints()) == 2
    newest = damage_newest(out)
    run = creo.resume(out, progress=True)
    said = capsys.readouterr().err
    assert newest.name in said
    assert "going on from the one before" in said
    assert run.steps == 600
    assert_same_end(out, whole)


def test_all_checkpoints_damaged_is_one_line(whole, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for path in RunFolder(out).checkpoints():
        path.write_bytes(b"nonsense")
    with pytest.raises(CorruptCheckpoint, match="no checkpoint that is whole"):
        creo.resume(out, progress=False)


def test_a_finished_run_says_so_and_takes_a_larger_budget(whole, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    with pytest.raises(RunError, match=r"is finished \(600 steps\)"):
        creo.resume(out, progress=False)
    with pytest.raises(OptionError, match="takes a new budget"):
        creo.resume(out, lr=0.1)
    run = creo.resume(out, steps=620, progress=False)
    assert run.steps == 620
    assert RunFolder(out).config["settings"]["steps"] == 620


def test_changed_data_is_noticed(whole, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    config = RunFolder(out).config
    config["data"]["content"] = "0" * 16
    RunFolder(out).update_config(config)
    with pytest.raises(RunError, match="is not the data"):
        creo.resume(out, steps=700, progress=False)


def test_a_broken_config_is_one_line(tmp_path):
    for text in ("[1, 2", "a: 1", ""):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(RunError, match=r"config\.yaml"):
            creo.load(tmp_path)


def test_rows_cut_off_by_a_kill_are_left_out(whole, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    rows = RunFolder(out).rows()
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"step": 601, "lo')
    assert RunFolder(out).rows() == rows
