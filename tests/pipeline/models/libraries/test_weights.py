"""Published weights: fetched once, checked by the SHA-256 in their name, never run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from foundation.errors import CorruptFileError, MissingFileError
from pipeline.models.libraries._weights import fetched, reading


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A web server on this machine: its address, and the folder whose files it gives."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_a_file_is_fetched_once(site: tuple[str, Path], cache: Path) -> None:
    address, folder = site
    (folder / "net.pth").write_bytes(b"first")
    assert fetched(f"{address}/net.pth") == cache / "net.pth"
    (folder / "net.pth").write_bytes(b"second")
    assert fetched(f"{address}/net.pth").read_bytes() == b"first"
    assert fetched(f"{address}/net.pth", "other.pth").read_bytes() == b"second"


def test_a_file_must_have_the_checksum_in_its_name(site: tuple[str, Path], cache: Path) -> None:
    address, folder = site
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    for name in (f"net-{digest}.pth", "net-0123abcd.pth"):
        (folder / name).write_bytes(b"weights")
    assert fetched(f"{address}/net-{digest}.pth").read_bytes() == b"weights"
    with pytest.raises(MissingFileError, match=f"net-0123abcd.*{digest}"):
        fetched(f"{address}/net-0123abcd.pth")
    assert [path.name for path in cache.iterdir()] == [f"net-{digest}.pth"]


def test_where_nothing_answers_the_file_and_its_address_are_named(
    cache: Path, no_network: None
) -> None:
    with pytest.raises(MissingFileError) as refused:
        fetched("https://example.org/models/net-0123abcd.pth")
    message = str(refused.value)
    assert message.startswith(f"{cache / 'net-0123abcd.pth'}: not there")
    assert "https://example.org/models/net-0123abcd.pth" in message
    assert "put it there" in message
    assert "\n" not in message
    assert not list(cache.iterdir())


def test_a_file_with_code_is_refused_however_it_is_read(cache: Path, trap) -> None:
    path = cache / "net.pth"
    torch.save({"weight": trap}, path)
    with pytest.raises(CorruptFileError, match=r"net\.pth.*delete it"), reading(path):
        torch.load(path, weights_only=False)
    assert not trap.sprung.exists()
    torch.load(path, weights_only=False)
    assert trap.sprung.exists(), "the trap itself does not work"


@pytest.mark.parametrize("before", [None, "0"])
def test_the_switch_is_put_back(
    cache: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    monkeypatch.delenv(switch, raising=False)
    if before:
        monkeypatch.setenv(switch, before)
    with reading(cache / "net.pth"):
        assert os.environ[switch] == "1"
    assert os.environ.get(switch) == before
