from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.bundle import (
    MANIFEST,
    PROBE,
    Manifest,
    Preprocessing,
    RuntimeRange,
    TensorSpec,
    checksums,
    open_bundle,
    write_manifest,
)
from foundation.errors import CorruptFileError, MissingFileError, NoSpaceError, UsageError
from foundation.packing import opened, pack, unpack


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "made" / "toy"
    (folder / "parts").mkdir(parents=True)
    (folder / "model.bin").write_bytes(bytes(range(256)) * 20)
    (folder / "parts" / "more.bin").write_bytes(b"more weights")
    np.savez(
        folder / PROBE,
        images=np.arange(24, dtype=np.uint8).reshape(2, 2, 3, 2),
        logits=np.array([[1.5, -2.0], [0.0, 3.25]], np.float32),
    )
    manifest = Manifest(
        name="toy",
        role="student",
        target="local",
        format="onnx",
        precision="fp32",
        model_file="model.bin",
        input=TensorSpec("image", "float32", "NCHW", ["batch", 2, 2, 3]),
        output=TensorSpec("logits", "float32", "NC", ["batch", 2]),
        preprocessing=Preprocessing(2, 3, 2, [0.5, 0.25], [0.5, 2.0]),
        classes=["cat", "dog"],
        files=checksums(folder),
        opset=20,
        runtime=RuntimeRange("onnxruntime", "1.17"),
    )
    write_manifest(folder, manifest)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


Edit = Callable[[list[tuple[zipfile.ZipInfo, bytes]]], Any]


def rewritten(packed: Path, edit: Edit) -> Path:
    """The packed file with its entries as a hostile hand would have them."""
    with zipfile.ZipFile(packed) as archive:
        entries = [(entry, archive.read(entry)) for entry in archive.infolist()]
    edit(entries)
    packed.unlink()
    with zipfile.ZipFile(packed, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content, entry.compress_type)
    return packed


def test_what_is_packed_comes_back_byte_for_byte(bundle: Path, tmp_path: Path) -> None:
    packed = pack(bundle)
    assert packed == bundle.parent / "toy.bundle"
    unpacked = unpack(packed, tmp_path / "deep" / "back")
    assert unpacked.folder == tmp_path / "deep" / "back"
    assert contents(unpacked.folder) == contents(bundle)
    assert unpacked == open_bundle(unpacked.folder)
    assert names(tmp_path / "deep") == ["back"]


def test_the_folder_is_named_like_the_bundle_beside_the_file(bundle: Path, tmp_path: Path) -> None:
    packed = pack(bundle, tmp_path / "sent" / "any-name")
    assert unpack(packed).folder == tmp_path / "sent" / "toy"
    assert names(tmp_path / "sent") == ["any-name", "toy"]


def test_the_same_bundle_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    first = pack(bundle, tmp_path / "first").read_bytes()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in sorted(contents(bundle), reverse=True):  # another order on the disk
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(bundle / name, copy / name)
        os.utime(copy / name, (1e9, 1e9))
        (copy / name).chmod(0o600)
    assert pack(copy, tmp_path / "second").read_bytes() == first
    (copy / "model.bin").chmod(0o777)
    (copy / "note.txt").write_text("not listed")
    assert pack(copy, tmp_path / "third").read_bytes() == first


def test_a_bundle_that_is_not_whole_is_not_packed(bundle: Path) -> None:
    (bundle / "model.bin").write_bytes(b"changed")
    with pytest.raises(CorruptFileError, match="checksum differs"):
        pack(bundle)
    assert names(bundle.parent) == ["toy"]


def test_packing_replaces_an_earlier_file_but_no_folder(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("older")
    assert zipfile.is_zipfile(pack(bundle, tmp_path / "out"))
    with pytest.raises(UsageError, match="is a folder"):
        pack(bundle, bundle.parent)


@pytest.mark.parametrize("there", ["full", "empty", "file", "link"])
def test_nothing_that_is_there_is_overwritten(bundle: Path, tmp_path: Path, there: str) -> None:
    packed, folder = pack(bundle), tmp_path / "mine"
    if there in ("full", "empty"):
        folder.mkdir()
    if there == "full":
        (folder / "letter.txt").write_text("dear")
    if there == "file":
        folder.write_text("dear")
    if there == "link":
        folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="mine: is there already"):
        unpack(packed, folder)
    assert names(tmp_path) == ["made", "mine"]
    assert there != "full" or contents(folder) == {"letter.txt": b"dear"}


def test_a_changed_byte_is_refused_or_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    """Wherever it is; a few, such as those of a date, carry no content."""
    packed, expected = pack(bundle), contents(bundle)
    sound = packed.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    places = rng.integers(0, len(sound), 300)
    for number, place in enumerate(places):
        spoilt = bytearray(sound)
        spoilt[place] ^= 1 << (number % 8)
        packed.write_bytes(spoilt)
        out = tmp_path / "out"
        try:
            assert contents(unpack(packed, out).folder) == expected
            shutil.rmtree(out)
        except CorruptFileError as error:
            refused += 1
            assert "\n" not in str(error)
            assert not out.exists()
    assert refused > 250
    assert names(tmp_path) == ["made"]


def test_a_file_that_is_cut_off_is_refused_in_one_line(bundle: Path, tmp_path: Path) -> None:
    packed = pack(bundle)
    sound = packed.read_bytes()
    for length in [0, 1, 30, *range(100, len(sound), 997), len(sound) - 1]:
        packed.write_bytes(sound[:length])
        with pytest.raises(CorruptFileError, match=r"toy\.bundle: not a whole packed bundle"):
            unpack(packed, tmp_path / "out")
    assert names(tmp_path) == ["made"]


def test_bytes_missing_anywhere_are_told_with_the_files_name(bundle: Path, tmp_path: Path) -> None:
    """At some places the system's own words are "invalid argument", of no file."""
    whole = pack(bundle, tmp_path / "whole.bundle").read_bytes()
    torn = tmp_path / "torn.bundle"
    for start in range(0, len(whole) - 1000, 97):
        torn.write_bytes(whole[:start] + whole[start + 1000 :])
        with pytest.raises(CorruptFileError, match=r"torn\.bundle: not a whole packed bundle"):
            unpack(torn, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_what_is_no_packed_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nope: no such file"):
        unpack(tmp_path / "nope")
    for content in (b"", b"PK", b"text", bytes(5000)):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(CorruptFileError, match="odd: not a whole packed bundle"):
            unpack(tmp_path / "odd")
    with pytest.raises(CorruptFileError, match=r"it has no bundle\.json"):
        unpack(bundle / PROBE)


def add(name: str, mode: int = stat.S_IFREG | 0o644) -> Edit:
    def edit(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        entries.append((entry, b"/etc/passwd"))

    return edit


def listed(name: str) -> Edit:
    """The entry, and a line for it in the manifest."""

    def edit(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        entry, content = entries[0]
        manifest = json.loads(content)
        manifest["files"][name] = "0" * 64
        entries[0] = (entry, json.dumps(manifest).encode())
        add(name)(entries)

    return edit


def as_link(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    entry = next(entry for entry, _ in entries if entry.filename == "model.bin")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16


def deflated(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    for entry, _ in entries:
        entry.compress_type = zipfile.ZIP_DEFLATED


def bomb(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    number = next(i for i, (entry, _) in enumerate(entries) if entry.filename == "model.bin")
    entries[number][0].compress_type = zipfile.ZIP_DEFLATED
    entries[number] = (entries[number][0], bytes(50 << 20))


HOSTILE: dict[str, tuple[Edit, str]] = {
    "an unlisted file": (add("extra.txt"), "'extra.txt'"),
    "an unlisted way out": (add("../out.txt"), "'../out.txt'"),
    "a listed way out": (listed("../out.txt"), "leaves the bundle"),
    "a listed absolute path": (listed("/tmp/out.txt"), "leaves the bundle"),
    "a listed drive": (listed("C:/out.txt"), "leaves the bundle"),
    "a folder": (add("deep/", stat.S_IFDIR | 0o755), "'deep/'"),
    "a link": (as_link, "is a link or worse"),
    "compressed entries": (deflated, "is compressed"),
    "a bomb": (bomb, "is compressed"),
    "a missing file": (lambda entries: entries.pop(1), "is not what its bundle.json lists"),
    "no manifest": (lambda entries: entries.pop(0), "it has no bundle.json"),
    "a file that stands there twice": (
        lambda entries: entries.append(entries[1]), "is not what its bundle.json lists",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_file_is_refused_and_leaves_nothing(
    bundle: Path, tmp_path: Path, case: str
) -> None:
    edit, words = HOSTILE[case]
    packed = rewritten(pack(bundle), edit)
    with pytest.raises(CorruptFileError, match=words) as caught:
        unpack(packed, tmp_path / "a" / "b" / "out")
    assert "\n" not in str(caught.value)
    assert names(bundle.parent) == ["toy", "toy.bundle"]
    assert names(tmp_path) == ["made"]


def test_a_file_changed_within_a_sound_archive_is_found(bundle: Path, tmp_path: Path) -> None:
    def edit(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        number = next(i for i, (entry, _) in enumerate(entries) if entry.filename == "model.bin")
        entries[number] = (entries[number][0], b"other weights")

    packed = rewritten(pack(bundle), edit)
    with pytest.raises(CorruptFileError, match=r"\(model\.bin: checksum differs") as caught:
        unpack(packed, tmp_path / "out")
    assert str(caught.value).startswith(f"{packed}: ")
    assert names(tmp_path) == ["made"]
    assert names(bundle.parent) == ["toy", "toy.bundle"]


def test_a_folder_and_a_file_of_it_open_alike(bundle: Path) -> None:
    packed = pack(bundle)
    with opened(bundle) as one, opened(packed) as other:
        assert one.manifest == other.manifest
        assert one.folder == bundle
        assert contents(other.folder) == contents(bundle)
    assert not other.folder.exists()
    with pytest.raises(MissingFileError, match=MANIFEST), opened(bundle / "nope"):
        pass


def test_a_full_disk_leaves_nothing_half_written(bundle: Path, small_disk: Any) -> None:
    folder, _ = small_disk
    (bundle / "model.bin").write_bytes(bytes(200_000))
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps({**manifest, "files": checksums(bundle)}))
    with pytest.raises(NoSpaceError, match=r"toy\.bundle"):
        pack(bundle, folder / "toy.bundle")
    packed = pack(bundle)
    with pytest.raises(NoSpaceError, match="out"):
        unpack(packed, folder / "out")
    assert names(folder) == []
