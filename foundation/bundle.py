"""The bundle: the contract between the room that makes a model and the room that runs it.

A bundle is a folder:

    bundle.json   what is in it: input and output, preprocessing, classes, checksums, origin
    model.*       the model, in the format's own files
    probe.npz     a few real images (uint8 NHWC) and the logits the original gave for them

Everything that a device needs to run and check the model is here, and reading it
needs nothing but the standard library and numpy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CorruptFileError, MissingFileError
from foundation.files import check_sha256, read_json, sha256_of, write_json

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
PROBE = "probe.npz"


@dataclass(frozen=True)
class Preprocessing:
    """How a uint8 image becomes the model's input: `(pixel / 255 - mean) / std`, then to NCHW.

    Attributes:
        height, width, channels: size of the image that the model takes.
        mean, std: one value a channel, on the scale 0..1.
        resize: how another size is brought to it, as a Pillow filter name.
    """

    height: int
    width: int
    channels: int
    mean: list[float]
    std: list[float]
    resize: str = "bilinear"

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Prepare images.

        Args:
            images: uint8, shape (N, height, width, channels).

        Returns:
            float32, shape (N, channels, height, width), C-contiguous.

        Raises:
            ValueError: when the shape or dtype is another.
        """
        expected = (self.height, self.width, self.channels)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise ValueError(
                f"images must be uint8 (N, {', '.join(map(str, expected))}), "
                f"but got {images.dtype} {images.shape}"
            )
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        scaled = (images.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Manifest:
    """The content of `bundle.json`.

    Attributes:
        name: the bundle's own name, such as "local-onnx-int8".
        role: "student" or "teacher".
        target: the target it was made for.
        format: export format, such as "onnx" or "openvino".
        precision: the number format that was asked for: "fp32", "fp16" or "int8".
        model_file: the file that a runtime opens.
        input_name, output_name: names in the model's graph.
        preprocessing: from a uint8 image to the input.
        classes: class names, in the order of the logits.
        files: SHA-256 of every file of the bundle but `bundle.json`.
        format_facts: what the format has to say of itself (opset, quantisation scheme, ...).
        parity: how the model's outputs agree with the original's on the probe images.
        accuracy: top-1 on the split named in it, with the number of images.
        origin: where it came from: the weights' checksum, the recipe, versions.
    """

    name: str
    role: str
    target: str
    format: str
    precision: str
    model_file: str
    input_name: str
    output_name: str
    preprocessing: Preprocessing
    classes: list[str]
    files: dict[str, str]
    format_facts: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


Part = TypeVar("Part", Preprocessing, Manifest)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose checksums have been found right."""

    folder: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        return self.folder / self.manifest.model_file

    @property
    def model_bytes(self) -> int:
        """Size of the model's own files, probe and manifest aside."""
        return sum(
            (self.folder / name).stat().st_size for name in self.manifest.files if name != PROBE
        )

    def probe(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Probe images (uint8, NHWC) and the original's logits for them (float32, (N, classes))."""
        with np.load(self.folder / PROBE, allow_pickle=False) as arrays:
            return arrays["images"], arrays["logits"]


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a bundle folder but its manifest, by relative POSIX path."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json`, the last file of a bundle: a folder without it is not a bundle."""
    write_json(folder / MANIFEST, asdict(manifest))


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file against its recorded checksum.

    Raises:
        MissingFileError: when the folder, the manifest or a file is not there.
        CorruptFileError: when a file was changed, or a path leaves the folder.
    """
    if not (folder / MANIFEST).is_file():
        raise MissingFileError(
            f"{folder}: not a bundle (no {MANIFEST}); make one with `compress export`"
        )
    manifest = _parse_manifest(folder / MANIFEST)
    for name, expected in manifest.files.items():
        _check_inside(folder, name)
        check_sha256(folder / name, expected)
    if manifest.model_file not in manifest.files:
        raise CorruptFileError(
            f"{folder / MANIFEST}: model file {manifest.model_file!r} has no checksum; export again"
        )
    return Bundle(folder, manifest)


def _parse_manifest(path: Path) -> Manifest:
    raw = read_json(path)
    try:
        version = raw["schema_version"]
        if version != SCHEMA_VERSION:
            raise CorruptFileError(
                f"{path}: schema version {version}, but this program reads {SCHEMA_VERSION}; "
                "export the bundle again"
            )
        known = {f.name for f in fields(Manifest)}
        raw["preprocessing"] = _checked(Preprocessing(**raw["preprocessing"]))
        return _checked(Manifest(**{key: value for key, value in raw.items() if key in known}))
    except (KeyError, TypeError) as error:
        raise CorruptFileError(f"{path}: not a bundle manifest ({error}); export again") from error


def _checked(part: Part) -> Part:
    """The part, if every value of it has its annotated type."""
    for name, hint in get_type_hints(type(part)).items():
        if not _is_of(getattr(part, name), hint):
            raise TypeError(f"{name} is {getattr(part, name)!r}")
    return part


def _is_of(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is_of(v, get_args(hint)[0]) for v in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_is_of(v, get_args(hint)[1]) for v in value.values())
    return isinstance(value, int | float if hint is float else hint)


def _check_inside(folder: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise CorruptFileError(
            f"{folder / MANIFEST}: path {name!r} leaves the bundle; do not use it"
        )
