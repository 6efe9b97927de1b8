"""A file is read once for its SHA-256, and again after every change, however well hidden."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from foundation import digests
from foundation.digests import digest_of, settle, state_of, trust

BEFORE, AFTER = b"what was checked", b"what came instead"[:16]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that has lain there for a while."""
    path = tmp_path / "there" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(BEFORE)
    settle(path)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_over(path: Path) -> None:
    path.write_bytes(AFTER)


def write_in_place(path: Path) -> None:
    with path.open("rb+") as file:
        file.write(AFTER)


def put_another_in_its_place(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(AFTER)
    other.replace(path)


def test_a_file_is_read_once(file: Path, times_hashed: Callable[[Path], dict[str, int]]) -> None:
    assert digest_of(file) == digest_of(file) == (sha256(BEFORE), state_of(file))
    assert times_hashed(file.parent) == {"model.onnx": 1}


def test_threads_that_want_the_same_file_read_it_once(
    file: Path, times_hashed: Callable[[Path], dict[str, int]]
) -> None:
    threads = [threading.Thread(target=digest_of, args=[file]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times_hashed(file.parent) == {"model.onnx": 1}


@pytest.mark.parametrize("change", [write_over, write_in_place, put_another_in_its_place])
def test_a_change_of_the_same_size_is_seen_though_the_time_of_modification_is_put_back(
    file: Path, change: Callable[[Path], None]
) -> None:
    digest, state = digest_of(file)
    assert digest == sha256(BEFORE)
    dated = file.stat()
    change(file)
    os.utime(file, ns=(dated.st_atime_ns, dated.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (dated.st_size, dated.st_mtime_ns)
    assert digest_of(file)[0] == sha256(AFTER)
    assert state_of(file) != state


def test_changes_one_right_after_the_other_are_all_seen(tmp_path: Path) -> None:
    """However fast they come: more of them than a file system's clock has ticks."""
    path = tmp_path / "changing"
    for number in range(300):
        content = b"%4d" % number
        path.write_bytes(content)
        assert digest_of(path)[0] == sha256(content)


def test_of_a_file_that_was_written_just_now_nothing_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "new"
    path.write_bytes(BEFORE)
    later = path.stat().st_ctime_ns + 1
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(digests.time, "time_ns", lambda: later)
        assert digest_of(path) == (sha256(BEFORE), None)
    settle(path)
    assert digest_of(path) == (sha256(BEFORE), state_of(path))


def test_on_a_disk_of_whole_seconds_nothing_is_remembered_for_longer(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = file.stat().st_ctime_ns // 10**9 * 10**9
    coarse = os.stat_result((0o100644, 1, 1, 1, 0, 0, 16, 0, 0, 0), {"st_ctime_ns": whole})
    monkeypatch.setattr(digests.os, "fstat", lambda _: coarse)
    for seconds, is_remembered in ((1, False), (3, True)):
        monkeypatch.setattr(digests.time, "time_ns", lambda at=seconds: whole + at * 10**9)
        assert (digest_of(file)[1] is not None) == is_remembered


def test_a_process_takes_the_word_of_another_for_what_is_as_it_was(
    file: Path, times_hashed: Callable[[Path], dict[str, int]]
) -> None:
    trust({state_of(file): "told"})
    assert digest_of(file) == ("told", state_of(file))
    assert times_hashed(file.parent) == {}
    write_in_place(file)
    assert digest_of(file)[0] == sha256(AFTER)
