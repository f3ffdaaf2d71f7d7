"""Freed memory stays with the process: the second use of it costs no page faults. Counted by the system, in a process
of its own, since the limits are the process's."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of glibc")

COUNT = """
import resource, sys, torch
from creo.training.memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep" and not keep_freed_memory():
    print("impossible"); sys.exit()
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(2**20) for _ in range(16)]  # 64 MiB: 16384 pages
    del held
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(*faults)
"""


def faults(way, **environment):
    done = subprocess.run(
        [sys.executable, "-c", COUNT, way],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=environment,
    )
    return done.stdout.strip()


def test_freed_memory_is_used_again_without_faults():
    kept = faults("keep")
    if kept == "impossible":
        pytest.skip("this C library has no limits to set")
    again, anew = (sum(map(int, counts.split()[1:])) for counts in (kept, faults("leave")))
    assert 10 * again < anew


def test_limits_set_from_outside_are_left():
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072") == "impossible"
