"""Checkpoints: what is written is read, and any change of the file is noticed."""

import json
import os
import subprocess
import sys

import pytest
import torch

from creo.errors import CorruptCheckpoint, RunError
from creo.training import checkpoint


def tensors():
    torch.manual_seed(0)
    base = torch.randn(5, 3)
    return {
        "float": base,
        "double": torch.randn((), dtype=torch.float64),
        "half": torch.randn(4).to(torch.bfloat16),
        "bytes": torch.randint(0, 255, (7,), dtype=torch.uint8),
        "transposed": base.T,
        "shared": base[:2],
        "empty": torch.zeros(0, 3),
    }


def test_round_trip_is_exact(tmp_path):
    meta = {"pi": 3.141592653589793, "none": None, "nested": {"a": [1, 2]}}
    checkpoint.write(tmp_path / "a.safetensors", tensors(), meta)
    read, values = checkpoint.read(tmp_path / "a.safetensors")
    assert values == meta
    assert read.keys() == tensors().keys()
    for name, t in tensors().items():
        assert torch.equal(read[name], t), name
        assert read[name].dtype == t.dtype
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("where", [0.02, 0.5, 0.99])
def test_every_flipped_byte_is_noticed(tmp_path, where):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, tensors(), {"step": 3})
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpoint, match=r"a\.safetensors"):
        checkpoint.read(path)


@pytest.mark.parametrize("kept", [0, 7, 300, -1])
def test_truncation_is_noticed(tmp_path, kept):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, tensors(), {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CorruptCheckpoint):
        checkpoint.read(path)


def test_edited_values_are_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"w": torch.zeros(2)}, {"step": 3})
    content = path.read_bytes()
    edited = content.replace(json.dumps({"step": 3}).replace('"', '\\"').encode(), b'{\\"step\\": 4}')
    assert edited != content
    path.write_bytes(edited)
    with pytest.raises(CorruptCheckpoint, match="checksum"):
        checkpoint.read(path)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """A file-size limit makes the kernel refuse the write half-way, as a full disk does."""
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"w": torch.zeros(2)}, {"step": 1})
    script = (
        "import resource, signal, sys, torch; from pathlib import Path; from creo.training import checkpoint;"
        "from creo.errors import RunError; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));\n"
        f"try: checkpoint.write(Path({str(path)!r}), {{'w': torch.zeros(100_000)}}, {{'step': 2}})\n"
        "except RunError as e: print('said:', e); sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "could not write" in done.stdout
    assert "intact" in done.stdout
    assert checkpoint.read(path)[1] == {"step": 1}
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_unwritable_folder_is_one_line(tmp_path):
    with pytest.raises(RunError, match="could not write"):
        checkpoint.write(tmp_path / "missing" / "a.safetensors", {"w": torch.zeros(1)}, {})
