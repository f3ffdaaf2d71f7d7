"""Finding, downloading over a local server, checksums, atomic writing, and the decoded cache."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from creo.data.files import Published, cached, download, find, obtain, replacing
from creo.data.load import Request
from creo.errors import CreoWarning, DataError

CONTENT = bytes(range(256)) * 4000


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file.bin").write_bytes(CONTENT)
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def published(*urls: str, content: bytes = CONTENT) -> Published:
    return Published("file.bin", len(content), hashlib.sha256(content).hexdigest(), urls)


def test_download(server: str, tmp_path: Path) -> None:
    path = download(published(server + "file.bin"), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file.bin"]


def test_the_next_address_is_tried(server: str, tmp_path: Path) -> None:
    path = download(published(server + "missing.bin", server + "file.bin"), tmp_path / "new")
    assert path.read_bytes() == CONTENT


def test_wrong_content_is_refused_and_leaves_nothing(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="checksum"):
        download(published(server + "file.bin", content=b"other"), tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_one_clear_line_when_nothing_works(server: str, own_folders: Path, tmp_path: Path) -> None:
    request = Request("mnist", "mnist", data_dir=tmp_path)
    with pytest.raises(DataError) as caught:
        obtain(request, "mnist", [published(server + "missing.bin")])
    message = str(caught.value)
    assert message.startswith("mnist: put file.bin into")
    assert str(tmp_path / "mnist") in message
    assert str(own_folders / "mnist") in message
    assert "404" in message
    assert "\n" not in message


def test_a_broken_address_is_a_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="http://127.0.0.1:1/"):
        download(published("http://127.0.0.1:1/file.bin"), tmp_path / "new")


def test_downloads_only_what_is_lacking(server: str, tmp_path: Path, own_folders: Path) -> None:
    request = Request("mnist", "mnist", data_dir=tmp_path)
    first = obtain(request, "mnist", [published(server + "file.bin")])
    assert first == [own_folders / "mnist" / "file.bin"]
    assert obtain(request, "mnist", [published("http://127.0.0.1:1/")]) == first


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_folders: Path) -> None:
    monkeypatch.setenv("CREO_DATA", str(tmp_path / "env"))
    request = Request("mnist", "mnist", data_dir=tmp_path / "given")
    assert find(request, "mnist", published()) is None
    for folder in (own_folders / "mnist", tmp_path / "env" / "mnist", tmp_path / "given" / "mnist"):
        folder.mkdir(parents=True)
        (folder / "file.bin").touch()
        assert find(request, "mnist", published()) == folder / "file.bin"
    assert find(Request("mnist", "mnist", data_dir=folder), "mnist", published()) == folder / "file.bin"


def test_a_loose_file_counts_only_if_it_is_the_published_one(tmp_path: Path) -> None:
    """Fashion-MNIST's files are called like MNIST's: one set's folder must not pass for the other's."""
    request = Request("mnist", "mnist", data_dir=tmp_path)
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    assert find(request, "mnist", published()) is None
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert find(request, "mnist", published()) == tmp_path / "file.bin"


def test_replacing_keeps_the_old_file_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fail() -> None:
        with replacing(tmp_path / "a") as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_cache_follows_its_sources(tmp_path: Path, own_folders: Path) -> None:
    source = tmp_path / "source"
    calls = []

    def decode() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"x": np.frombuffer(source.read_bytes(), np.uint8)}

    source.write_bytes(b"abc")
    for _ in range(2):
        assert cached("a", [source], decode)["x"].tobytes() == b"abc"
    assert len(calls) == 1
    source.write_bytes(b"abcd")
    assert cached("a", [source], decode)["x"].tobytes() == b"abcd"
    assert cached("a", [source], decode, options="other")["x"].flags.writeable
    assert len(calls) == 3


def test_a_damaged_cache_is_decoded_again(tmp_path: Path, own_folders: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    decode = lambda: {"x": np.arange(1000)}
    cached("a", [source], decode)
    (kept,) = (own_folders / "decoded").iterdir()
    content = kept.read_bytes()
    for damaged in (content[: len(content) // 2], content[:500] + b"\xff" * 8 + content[508:]):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(cached("a", [source], decode)["x"], np.arange(1000))
        assert kept.read_bytes() != damaged


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(CreoWarning, match="cannot be kept decoded"):
        assert cached("a", [tmp_path / "file"], lambda: {"x": np.arange(3)})["x"].sum() == 3
