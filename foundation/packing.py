"""One file of a bundle, and the bundle of such a file.

`NAME.bundle` is a ZIP archive whose entries are stored, not deflated: `bundle.json`, then
the files that it lists, in order of their names, with one date and one mode. So the same
bundle gives the same bytes everywhere, where a deflated one would depend on the zlib at
hand; and nothing in it can grow when it is unpacked. Weights hardly compress anyway.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from foundation.bundle import MANIFEST, AnyBundle, open_any_bundle
from foundation.digests import settle
from foundation.documents import parse_json
from foundation.errors import (
    CompressError,
    CorruptFileError,
    MissingFileError,
    UsageError,
    is_no_space,
)
from foundation.files import no_space_named, replacing
from foundation.manifest import BundleManifest, parse_manifest

SUFFIX = ".bundle"

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first moment that ZIP can write
_UNIX, _MODE = 3, stat.S_IFREG | 0o644
_LARGEST_MANIFEST = 16 << 20


def pack(folder: Path, packed: Path | None = None) -> Path:
    """Make one file of a bundle; the same bundle gives the same bytes.

    Only what the manifest lists goes in.

    Args:
        folder: the bundle.
        packed: the file, written atomically; NAME.bundle beside the folder when None.

    Returns:
        The file.

    Raises:
        MissingFileError, CorruptFileError: when the bundle is not whole.
        UsageError: when a folder stands where the file should.
        NoSpaceError: when the disk is full.
    """
    bundle = open_any_bundle(folder)
    packed = packed or folder.resolve().parent / f"{bundle.manifest.name}{SUFFIX}"
    if packed.is_dir():
        raise UsageError(f"{packed}: is a folder; name a file for the packed bundle")
    with replacing(packed) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in (MANIFEST, *sorted(bundle.manifest.files)):
            entry = _entry(name, (folder / name).stat().st_size)
            with (folder / name).open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target)
    return packed


def unpack(packed: Path, folder: Path | None = None) -> AnyBundle:
    """Make the bundle's folder of a packed file; it appears only if everything in it is right.

    Args:
        packed: the file.
        folder: a new folder; the bundle's own name beside the file when None.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not a packed bundle, was changed or cut off.
        UsageError: when there is something at `folder` already.
        NoSpaceError: when the disk is full.
    """
    with _archive(packed) as archive:
        manifest = _manifest(archive)
        _check_entries(archive, manifest, packed.stat().st_size)
        folder = folder or packed.resolve().parent / manifest.name
        if folder.exists() or folder.is_symlink():
            raise UsageError(f"{folder}: is there already; take it away or name another folder")
        with _appearing(folder) as temporary:
            for name in (MANIFEST, *manifest.files):
                _extract(archive, name, temporary / name)
            settle(temporary / name)
            bundle = _open_unpacked(temporary)
    return replace(bundle, folder=folder)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[AnyBundle]:
    """Yield the checked bundle at `path`, a folder or a packed file; the latter is unpacked to
    a folder that is gone afterwards.

    Raises:
        MissingFileError, CorruptFileError: as `open_any_bundle` and `unpack`.
        NoSpaceError: when the disk is full.
    """
    if not path.is_file():
        yield open_any_bundle(path)
        return
    with tempfile.TemporaryDirectory(prefix="bundle-") as scratch:
        # Named as the user knows it: messages about its process say so.
        yield unpack(path, Path(scratch, path.stem))


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.create_system, entry.external_attr = _UNIX, _MODE << 16
    entry.file_size = size  # decides whether 64-bit sizes are needed
    return entry


@contextlib.contextmanager
def _archive(packed: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever is wrong with it is told in one line."""
    if not packed.is_file():
        raise MissingFileError(f"{packed}: no such file; name a packed bundle")
    try:
        with zipfile.ZipFile(packed) as archive:
            yield archive
    except CompressError:
        raise
    except OSError as error:
        # Of a file that it cannot find its way in, the system says "invalid argument" and no name.
        if error.filename is not None or is_no_space(error):
            raise
        raise CorruptFileError(
            f"{packed}: not a whole packed bundle ({error.strerror or error}); get it again"
        ) from error
    # ValueErrors are ours and the JSON decoder's; OverflowError comes of absurd offsets.
    except (
        zipfile.BadZipFile, ValueError, EOFError, RecursionError, OverflowError,
        NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or "it is cut off"
        raise CorruptFileError(
            f"{packed}: not a whole packed bundle ({reason}); get it again"
        ) from error


def _manifest(archive: zipfile.ZipFile) -> BundleManifest:
    if MANIFEST not in archive.namelist():
        raise ValueError(f"it has no {MANIFEST}")
    if archive.getinfo(MANIFEST).file_size > _LARGEST_MANIFEST:
        raise ValueError(f"its {MANIFEST} is larger than {_LARGEST_MANIFEST >> 20} MiB")
    return parse_manifest(parse_json(archive.read(MANIFEST)))


def _check_entries(archive: zipfile.ZipFile, manifest: BundleManifest, packed_bytes: int) -> None:
    """Exactly the files that the manifest lists, each once, each stored as it is."""
    entries = archive.infolist()
    names = sorted(entry.filename for entry in entries)
    if names != sorted([MANIFEST, *manifest.files]):
        odd = set(names) ^ {MANIFEST, *manifest.files} or {n for n in names if names.count(n) > 1}
        raise ValueError(f"what it holds is not what its {MANIFEST} lists: {min(odd)!r}")
    for entry in entries:
        mode = entry.external_attr >> 16
        if mode and not stat.S_ISREG(mode):
            raise ValueError(f"{entry.filename!r} is a link or worse")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(f"{entry.filename!r} is compressed, which no packed bundle is")
    if sum(entry.file_size for entry in entries) > packed_bytes:
        raise ValueError("it claims to hold more bytes than it has")


def _extract(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, path.open("xb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())


def _open_unpacked(folder: Path) -> AnyBundle:
    try:
        return open_any_bundle(folder)
    except CorruptFileError as error:
        # The temporary folder's name and advice for a folder would say nothing to the user.
        raise ValueError(str(error).replace(f"{folder}/", "").partition(";")[0]) from error


@contextlib.contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` if the body succeeds, and is gone if not."""
    with no_space_named(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            # mkdtemp makes folders private to the user; a mkdir gives what the user is used to.
            inside = temporary / "bundle"
            inside.mkdir()
            yield inside
            inside.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
