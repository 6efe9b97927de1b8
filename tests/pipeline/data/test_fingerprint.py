from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import MissingFileError
from pipeline.data import fingerprint
from pipeline.data.dataset_files import DatasetFiles, files_of
from pipeline.data.fingerprint import (
    Snapshot,
    changes_between,
    is_moved,
    read_snapshot,
    take_snapshot,
    write_snapshot,
)

SPLITS = ("train", "test")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve files that are images by their names, of one size each, two hours old."""
    for number in range(12):
        path = (
            tmp_path / f"photos/{SPLITS[number % 2]}/{'cat' if number < 6 else 'dog'}/{number}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"picture {number:02}")
        os.utime(path, (path.stat().st_mtime - 7200,) * 2)
    return tmp_path / "photos"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been written long before it is looked at."""
    monkeypatch.setattr(fingerprint, "_UNSETTLED_NS", -(10**12))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose content was read, as they are read."""
    names: list[str] = []
    digest = fingerprint._digest

    def noting(path: Path, *rest: Any) -> bytes:
        names.append(path.name)
        return digest(path, *rest)

    monkeypatch.setattr(fingerprint, "_digest", noting)
    return names


def look(root: Path, before: Snapshot | None = None) -> Snapshot:
    seen = take_snapshot(DatasetFiles(root, SPLITS), before)
    assert seen is not None
    return seen


def changed(root: Path, before: Snapshot) -> str:
    """What changed, in words; the identity has to agree."""
    after = look(root, before)
    changes = changes_between(before, after)
    if before.is_whole:
        assert bool(changes) == (before.identity != after.identity)
    return str(changes) if changes else ""


@pytest.mark.usefixtures("settled")
def test_what_is_as_it_was_is_not_read_again(photos: Path, read: list[str]) -> None:
    before = look(photos)
    assert len(read) == len(before.names) == 12
    assert changed(photos, before) == ""
    assert len(read) == 12


def test_what_was_written_a_moment_ago_is_read_again(photos: Path, read: list[str]) -> None:
    before = look(photos)
    path, stat = photos / "train/cat/0.png", (photos / "train/cat/0.png").stat()
    path.write_text("picture 99")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert changed(photos, before) == "1 file changed: train/cat/0.png"
    assert len(read) == 24


def _rename_class(root: Path) -> None:
    (root / "train/cat").rename(root / "train/eel")


def _swap(root: Path) -> None:
    one, other = root / "train/cat/0.png", root / "train/dog/6.png"
    one.rename(root / "kept")
    other.rename(one)
    (root / "kept").rename(other)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "content": (
        lambda root: (root / "train/dog/8.png").write_text("picture 77"),
        "1 file changed: train/dog/8.png",
    ),
    "size": (
        lambda root: (root / "train/dog/8.png").write_text("another"),
        "1 file changed: train/dog/8.png",
    ),
    "new": (
        lambda root: (root / "test/cat/new.JPG").write_text("x"),
        "1 file new: test/cat/new.JPG",
    ),
    "gone": (lambda root: (root / "test/cat/1.png").unlink(), "1 file gone: test/cat/1.png"),
    "swapped between classes": (_swap, "2 files changed: train/cat/0.png, train/dog/6.png"),
    "a class renamed": (
        _rename_class,
        "3 files new, 3 gone: train/eel/0.png, train/eel/2.png, train/eel/4.png, …",
    ),
    "a name that is no text": (
        lambda root: Path(os.fsdecode(os.fsencode(root) + b"/test/cat/\xff.png")).write_text("x"),
        "1 file new: test/cat/\\xff.png",
    ),
}  # fmt: skip


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named(change: str, photos: Path) -> None:
    before = look(photos)
    act, words = CHANGES[change]
    act(photos)
    assert changed(photos, before) == words


SAME: dict[str, Callable[[Path], object]] = {
    "touched": lambda root: [path.touch() for path in root.rglob("*.png")],
    "written again": lambda root: (root / "train/dog/8.png").write_text("picture 08"),
    "no images": lambda root: (root / "train/dog/notes.txt").write_text("x"),
    "hidden": lambda root: (root / "train/dog/.8.png").write_text("x"),
    "beside the splits": lambda root: (root / "cover.png").write_text("x"),
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("act", SAME)
def test_what_does_not_matter_changes_nothing(act: str, photos: Path) -> None:
    before = look(photos)
    SAME[act](photos)
    assert changed(photos, before) == ""


@pytest.mark.usefixtures("settled")
def test_a_dataset_may_move_and_be_copied(photos: Path, tmp_path: Path) -> None:
    before = look(photos)
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copyfile)
    assert changed(tmp_path / "copy", before) == ""
    moved = f"folder:{tmp_path / 'copy'}"
    assert is_moved(before, "folder:photos", moved)
    assert not is_moved(before, "shards:photos", moved)
    assert not is_moved(None, "folder:photos", moved)
    (tmp_path / "copy/test/dog/7.png").unlink()
    assert not is_moved(before, "folder:photos", moved)


def test_a_look_is_kept_and_comes_back(photos: Path, tmp_path: Path) -> None:
    seen = look(photos)
    write_snapshot(tmp_path / "seen.npz", seen)
    again = read_snapshot(tmp_path / "seen.npz")
    assert again is not None
    assert again.identity == seen.identity
    assert not changes_between(again, seen)
    (tmp_path / "seen.npz").write_bytes(b"PK no more")
    assert read_snapshot(tmp_path / "seen.npz") is None


def test_links_in_a_ring_end(photos: Path) -> None:
    (photos / "train/cat/again").symlink_to(photos / "train", target_is_directory=True)
    (photos / "train/cat/nowhere.png").symlink_to(photos / "gone.png")
    assert len(look(photos).names) == 13


class TestALargeSet:
    """Of more than WHOLE_BYTES, a sample of the files is looked into."""

    @pytest.fixture(autouse=True)
    def small_limits(self, monkeypatch: pytest.MonkeyPatch, settled: None) -> None:
        del settled
        for name, value in (("WHOLE_BYTES", 50), ("_SAMPLED_FILES", 4), ("_COPY_WITNESSES", 3)):
            monkeypatch.setattr(fingerprint, name, value)

    def test_a_part_of_it_is_read(self, photos: Path, read: list[str]) -> None:
        seen = look(photos)
        assert not seen.is_whole
        assert len(read) == 4 == seen.has_content.sum()

    def test_a_file_that_was_not_looked_into_changed_by_its_time(self, photos: Path) -> None:
        before = look(photos)
        name = before.names[int(np.flatnonzero(~before.has_content)[0])]
        (photos / name).write_text("picture 77")
        assert changed(photos, before) == f"1 file changed: {name}"

    def test_a_copy_is_known_by_its_sample(self, photos: Path, tmp_path: Path) -> None:
        before = look(photos)
        shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copyfile)
        assert changed(tmp_path / "copy", before) == ""
        name = before.names[int(np.flatnonzero(before.has_content)[1])]
        (tmp_path / "copy" / name).write_text("picture 77")
        assert name in changed(tmp_path / "copy", before)

    def test_of_a_large_file_parts_are_read(
        self, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (("_WHOLE_FILE", 64), ("_PARTS", 4), ("_PART_BYTES", 16)):
            monkeypatch.setattr(fingerprint, name, value)
        path = photos / "train/cat/0.png"
        path.write_bytes(bytes(4096))
        before = look(photos)
        path.write_bytes(bytes(4095) + b"x")
        assert changed(photos, before) == "1 file changed: train/cat/0.png"


class TestEveryKindOfDataset:
    """What it reads is looked at, and nothing else."""

    def test_shards(self, tmp_path: Path) -> None:
        for name in ("train-0.tar", "train-1.tar", "test-0.tar", "other.tar"):
            with tarfile.open(tmp_path / name, "w"):
                pass
        for name in ("classes.txt", "train.index.npz"):
            (tmp_path / name).write_text("x")
        seen = take_snapshot(files_of(f"shards:{tmp_path}"))
        names = {seen.names[index] for index in range(len(seen.names))}
        assert names == {"train-0.tar", "train-1.tar", "test-0.tar", "classes.txt"}

    @pytest.mark.parametrize(
        ("kind", "there", "aside"),
        [
            ("folder", "train/cat/1.png", "old/cat/1.png"),
            ("imagenet", "val/n01440764/1.JPEG", "test/1.JPEG"),
            ("tiny-imagenet", "tiny-imagenet-200/val/val_annotations.txt",
             "tiny-imagenet-200/words.txt"),
            ("cifar10", "cifar-10-batches-py/data_batch_1", "cifar-10-python.tar.gz"),
            ("cifar100", "cifar-100-python/train", "cifar-10-batches-py/data_batch_1"),
            ("fashion-mnist", "FashionMNIST/raw/train-labels-idx1-ubyte", "FashionMNIST/x"),
        ],
    )  # fmt: skip
    def test_published_sets(self, kind: str, there: str, aside: str, tmp_path: Path) -> None:
        for name in (there, aside):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("x")
        seen = take_snapshot(files_of(f"{kind}:{tmp_path}"))
        assert len(seen.names) == 1
        assert there.endswith(seen.names[0])

    def test_digits(self) -> None:
        assert take_snapshot(files_of("digits")).names[0] == "digits.csv.gz"

    def test_one_of_a_plugin_that_names_a_file_a_folder_or_neither(self, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text("x")
        for place in (tmp_path, tmp_path / "table.csv"):
            assert take_snapshot(files_of(f"plugin:{place}")).names[0] == "table.csv"
        assert files_of("plugin:16") is None
        assert files_of("plugin") is None

    def test_nothing_there_is_no_files(self, tmp_path: Path) -> None:
        assert take_snapshot(files_of(f"folder:{tmp_path / 'nothing'}")) is None
        with pytest.raises(MissingFileError, match="no home folder of that user"):
            files_of("folder:~nobody-of-this-name/x")
