"""Two processes on half a batch each do what one process does on the whole batch."""

import subprocess
import sys

import pytest
import torch

import creo
from creo.errors import RunError
from creo.training import RunFolder, checkpoint

pytest.importorskip("lightning_fabric", reason="needs the extra creo[distributed]")

ARGUMENTS = ["-m", "creo", "train", "made", "--data", "digits", "--steps", "40", "--dropout", "0", "--log-every", "1",
             "--batch-size", "64", "--threads", "1", "--eval-every", "20", "--sample-every", "0"]  # fmt: skip


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_follow_the_trajectory_of_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run(sys.executable, *ARGUMENTS, "--out", str(one))
    run(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        *ARGUMENTS, "--out", str(two))  # fmt: skip
    a, b = (RunFolder(p).rows() for p in (one, two))
    assert [r["step"] for r in a] == [r["step"] for r in b]
    # the same sums in another order: float32 rounding, which 40 steps of Adam amplify a little
    for name in ("loss/model", "valid"):
        x, y = (torch.tensor([r[name] for r in rows if name in r]) for rows in (a, b))
        assert len(x) > 1
        torch.testing.assert_close(x, y, rtol=1e-4, atol=0)
    weights_a, weights_b = (checkpoint.read(RunFolder(p).best)[0] for p in (one, two))
    for name in weights_a:
        torch.testing.assert_close(weights_a[name].float(), weights_b[name].float(), rtol=0, atol=2e-3)
    with pytest.raises(RunError, match="another number of processes"):
        creo.resume(two, steps=50, progress=False)
