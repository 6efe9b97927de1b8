"""The bundle: the contract between the room that makes a model and the room that runs it.

A bundle is a folder::

    bundle.json   what is in it: input and output, preprocessing, classes, checksums, origin
    model.*       the model, in the format's own files
    probe.npz     a few real images (uint8 NHWC) and the logits the original gave for them;
                  of a graph that is no classifier, its inputs and the original's outputs
    README.md     the model card, for the person who receives it

Everything that a device needs to run and check the model is here, and reading it
needs nothing but the standard library and numpy. `packing` makes one file of it.
"""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.digests import CheckedFiles, digest_of, state_of, trust
from foundation.errors import CorruptFileError, MissingFileError, UsageError
from foundation.files import check_sha256, read_json, sha256_of, write_json
from foundation.manifest import (
    BATCH_AXIS,
    PICTURE_AXES,
    SCHEMA_VERSION,
    BundleManifest,
    GraphManifest,
    Manifest,
    RuntimeRange,
    TensorSpec,
    parse_manifest,
)
from foundation.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "BATCH_AXIS", "CARD", "MANIFEST", "PICTURE_AXES", "PROBE", "SCHEMA_VERSION", "AnyBundle",
    "Bundle", "BundleManifest", "GraphManifest", "Manifest", "Preprocessing", "RuntimeRange",
    "TensorSpec", "checksums", "open_any_bundle", "open_bundle", "read_arrays", "read_manifest",
    "write_manifest",
]  # fmt: skip

MANIFEST = "bundle.json"
PROBE = "probe.npz"
CARD = "README.md"

_EXPORT_ANEW = "do not use it, export the bundle again"
_LARGEST_PROBE = 1 << 30


@dataclass(frozen=True)
class AnyBundle:
    """A bundle on disk, whatever its model is for, whose checksums have been found right.

    Attributes:
        folder: where it lies.
        manifest: what it says of itself.
        manifest_sha256: of that, which stands for all files.
    """

    folder: Path
    manifest: BundleManifest
    manifest_sha256: str

    @property
    def model_path(self) -> Path:
        return self.folder / self.manifest.model_file

    @property
    def model_files(self) -> list[str]:
        """The model's own files, probe and card aside."""
        return [name for name in self.manifest.files if name not in (PROBE, CARD)]

    @property
    def model_bytes(self) -> int:
        """Size of the model's own files."""
        return sum((self.folder / name).stat().st_size for name in self.model_files)

    def checked(self) -> CheckedFiles:
        """What another process of this machine need not find out again."""
        names = (MANIFEST, *self.manifest.files)
        files = (digest_of(self.folder / name) for name in names)
        return CheckedFiles(
            self.manifest_sha256, {state: digest for digest, state in files if state}
        )

    def check_unchanged(self) -> None:
        """Make sure that every file still is what was opened; what did not change is not read.

        Raises:
            MissingFileError: when one is gone.
            CorruptFileError: when one was changed or replaced.
        """
        _check_manifest(self.folder / MANIFEST, self.manifest_sha256)
        _check_files(self.folder, self.manifest)

    def extra_files(self) -> list[str]:
        """Files in the folder that the manifest does not list, and so vouches for none of."""
        known = {MANIFEST, *self.manifest.files}
        names = (path.relative_to(self.folder).as_posix() for path in _not_folders(self.folder))
        return [name for name in names if name not in known]


@dataclass(frozen=True)
class Bundle(AnyBundle):
    """A classifier's bundle; that of another graph is a `foundation.graph_bundle.GraphBundle`."""

    manifest: Manifest

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """What the model takes for uint8 images (N, height, width, channels).

        Raises:
            ValueError: when the shape or dtype is another.
        """
        return self.manifest.preprocessing.prepare(images)

    def probe(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Probe images (uint8, NHWC, at least one) and the original's logits (N, classes).

        Raises:
            CorruptFileError: when it cannot be read without running code, or does not fit.
        """
        path = self.folder / PROBE
        import numpy as np  # noqa: PLC0415

        try:
            arrays = read_arrays(path)
            images, logits = arrays["images"], arrays["logits"]
            self.manifest.preprocessing.check(images)
            expected = (len(images), len(self.manifest.classes))
            if logits.dtype != np.float32 or logits.shape != expected or not len(images):
                raise ValueError(
                    f"logits are {logits.dtype} {logits.shape} for {expected[0]} images and "
                    f"{expected[1]} classes"
                )
            if not np.isfinite(logits).all():
                raise ValueError("a logit is not finite")
        # numpy and zipfile raise a dozen kinds between them for a file that is spoilt.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CorruptFileError(
                f"{path}: not a usable probe ({reason}); export the bundle again"
            ) from error
        return images, logits


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a bundle folder but its manifest, by relative POSIX path."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in _not_folders(folder)
        if path.name != MANIFEST
    }


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write `bundle.json`, the last file of a bundle: a folder without it is not a bundle.

    Raises:
        ValueError: when the manifest describes what cannot be.
    """
    content = asdict(manifest)
    parse_manifest(content)
    write_json(folder / MANIFEST, content)


def read_manifest(folder: Path) -> Manifest | GraphManifest:
    """What a bundle says of itself, before any of its files is looked at.

    Raises:
        MissingFileError: when there is no bundle.
        CorruptFileError: when the manifest describes what cannot be, or names a path outside.
    """
    path = _manifest_path(folder)
    try:
        return parse_manifest(read_json(path, _EXPORT_ANEW))
    except ValueError as error:
        raise CorruptFileError(
            f"{path}: not a bundle manifest ({error}); {_EXPORT_ANEW}"
        ) from error


def open_bundle(folder: Path, checked: CheckedFiles | None = None) -> Bundle:
    """Read a classifier's bundle; as `open_any_bundle`.

    Raises:
        UsageError: when it is the bundle of another graph.
    """
    bundle = open_any_bundle(folder, checked)
    if not isinstance(bundle, Bundle):
        raise UsageError(
            f"{folder}: is the bundle of a graph that is no classifier, and this is for classifiers"
        )
    return bundle


def open_any_bundle(folder: Path, checked: CheckedFiles | None = None) -> AnyBundle:
    """Read a bundle and check every file against its recorded checksum.

    Files that are not listed are left alone, if the model does not load them;
    `Bundle.extra_files` names them.

    Args:
        folder: the bundle's.
        checked: what was found by who opened it before; it must be the same bundle.

    Raises:
        MissingFileError: when the folder, the manifest or a file is not there.
        CorruptFileError: when a file was changed, or a path leaves the folder, or the manifest
            describes what cannot be.
    """
    if checked is not None:
        trust(checked.digests)
    manifest, digest = _read_with_digest(folder)
    if checked is not None:
        _check_manifest(folder / MANIFEST, checked.manifest_sha256)
    _check_files(folder, manifest)
    bundle = _bundle_of(folder, manifest, digest)
    _check_nothing_else_is_loaded(bundle)
    return bundle


def _bundle_of(folder: Path, manifest: Manifest | GraphManifest, digest: str) -> AnyBundle:
    from foundation.graph_bundle import GraphBundle  # noqa: PLC0415 - it is one of ours

    if isinstance(manifest, GraphManifest):
        return GraphBundle(folder, manifest, digest)
    return Bundle(folder, manifest, digest)


def _read_with_digest(folder: Path) -> tuple[Manifest | GraphManifest, str]:
    """The manifest, and the SHA-256 of what was read of it."""
    path = _manifest_path(folder)
    before = state_of(path)
    manifest, digest = read_manifest(folder), sha256_of(path)
    if state_of(path) != before:
        raise CorruptFileError(f"{path}: changed while it was read; run the same command again")
    return manifest, digest


def _check_manifest(path: Path, expected: str) -> None:
    """It has no checksum on record but that of who opened it first."""
    if not path.is_file():
        raise MissingFileError(f"{path}: gone since the bundle was opened; put it back")
    if sha256_of(path) != expected:
        raise CorruptFileError(
            f"{path}: changed since the bundle was opened; leave it alone meanwhile, and run the "
            "same command again"
        )


def _check_files(folder: Path, manifest: BundleManifest) -> None:
    for name, expected in manifest.files.items():
        _check_inside(folder, name)
        check_sha256(folder / name, expected, _EXPORT_ANEW)


def _check_nothing_else_is_loaded(bundle: AnyBundle) -> None:
    """A runtime reads weights beside the model: OpenVINO by the model's name, ONNX Runtime by what
    the model says. What the manifest does not vouch for must not be among them."""
    extra = bundle.extra_files()
    if not extra:
        return
    own = bundle.manifest.model_file
    weights = own.removesuffix(".xml") + ".bin" if own.endswith(".xml") else None
    model = bundle.model_path.read_bytes()
    for name in extra:
        if name == weights or name.encode() in model:
            raise CorruptFileError(
                f"{bundle.folder}: the model would load {name!r}, which {MANIFEST} does not list; "
                "take it away, or do not use this bundle"
            )


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a probe, by name; nothing in it is unpickled.

    Raises:
        ValueError: when they are more than a probe has; numpy and zipfile have kinds of their own.
    """
    import numpy as np  # noqa: PLC0415

    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _LARGEST_PROBE:
        raise ValueError(f"it unpacks to {size} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _manifest_path(folder: Path) -> Path:
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingFileError(
            f"{folder}: not a bundle (no {MANIFEST}); make one with `compress export`"
        )
    _check_inside(folder, MANIFEST)
    return path


def _check_inside(folder: Path, name: str) -> None:
    """The manifest's paths are plain ones; on the disk a link may still lead elsewhere."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise CorruptFileError(f"{path}: is a link that leaves the bundle; do not use it")


def _not_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
