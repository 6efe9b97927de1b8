"""A manifest is read: from a file that anybody can write, so nothing of it is believed before
every value has the type and the meaning that it must have.
"""

from __future__ import annotations

import math
import re
import types
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from foundation.manifest import (
    BATCH_AXIS,
    LEADING_NUMBERS,
    SCHEMA_VERSION,
    Manifest,
    Preprocessing,
    RuntimeRange,
)

_NAME = re.compile(r"\w[\w.+@ -]*")
_MOST_FILES, _LONGEST_PATH, _DEEPEST_PATH = 1000, 512, 16
_DIGEST = re.compile(r"[0-9a-f]{64}")

Record = TypeVar("Record")


def parse_manifest(raw: Any) -> Manifest:
    """The manifest in the parsed content of a `bundle.json`.

    Keys that a later version adds beside the known ones are passed over.

    Raises:
        ValueError: when it is none, of another schema version, or describes what cannot be.
    """
    if not isinstance(raw, dict):
        raise ValueError("it is no table of keys")
    if "schema_version" not in raw:
        raise ValueError("it has no schema_version")
    if raw["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"schema version {raw['schema_version']}, but this program reads {SCHEMA_VERSION}"
        )
    known = {one.name for one in fields(Manifest)}
    manifest = _build(Manifest, {key: value for key, value in raw.items() if key in known})
    for problem in _problems(manifest):
        raise ValueError(problem)
    return manifest


def _problems(manifest: Manifest) -> Iterable[str]:
    """What in a manifest of the right types cannot be."""
    if not _NAME.fullmatch(manifest.name):
        yield f"name {manifest.name!r} is not a plain name"
    yield from _path_problems(manifest)
    yield from _preprocessing_problems(manifest.preprocessing)
    yield from _spec_problems(manifest)
    yield from _runtime_problems(manifest.runtime)


def _path_problems(manifest: Manifest) -> Iterable[str]:
    # Before anything is done for each part of each path.
    if len(manifest.files) > _MOST_FILES:
        yield f"it lists {len(manifest.files)} files, more than the {_MOST_FILES} of any bundle"
    for name in manifest.files:
        if len(name) > _LONGEST_PATH or name.count("/") >= _DEEPEST_PATH:
            yield f"path {name[:40]!r}… is longer or deeper than any bundle's"
    for name, digest in manifest.files.items():
        # A drive and a backslash are paths to Windows alone, and a bundle goes everywhere.
        leaves = PurePosixPath(name).is_absolute() or ".." in re.split(r"[/\\]", name)
        if leaves or "\\" in name or ":" in name:
            yield f"path {name!r} leaves the bundle"
        if not name.isprintable() or PurePosixPath(name).as_posix() != name or name == ".":
            yield f"path {name!r} is not written plainly"
        if not _DIGEST.fullmatch(digest):
            yield f"checksum {digest!r} of {name!r} is not a SHA-256"
    folders = {str(parent) for name in manifest.files for parent in PurePosixPath(name).parents}
    for name in sorted(folders & set(manifest.files)):
        yield f"path {name!r} is a file and a folder"
    # To some file systems "Model.onnx" and "model.onnx" are one file.
    for name, count in Counter(name.casefold() for name in manifest.files).items():
        if count > 1:
            yield f"path {name!r} stands there {count} times"
    if manifest.model_file not in manifest.files:
        yield f"model file {manifest.model_file!r} has no checksum"


def _preprocessing_problems(shape: Preprocessing) -> Iterable[str]:
    if min(shape.height, shape.width, shape.channels) < 1:
        yield f"an image of {shape.height} × {shape.width} × {shape.channels} cannot be"
    for name, values in (("mean", shape.mean), ("std", shape.std)):
        if len(values) != shape.channels:
            yield f"{name} is {values}, but there are {shape.channels} channels"
        if not all(map(math.isfinite, values)):
            yield f"{name} is {values}"
    if min(shape.std, default=1.0) <= 0:
        yield f"std is {shape.std}, but must be above 0"


def _spec_problems(manifest: Manifest) -> Iterable[str]:
    shape, batch = manifest.preprocessing, manifest.input.shape[:1]
    if batch != [BATCH_AXIS] and not any(isinstance(size, int) and size >= 1 for size in batch):
        name = manifest.input.name
        yield f"input {name!r} is of {batch} images, not of {BATCH_AXIS!r} or a number"
    image: list[int | str] = [shape.channels, shape.height, shape.width]
    wanted = ("float32", "NCHW", [*batch, *image])
    if shape.embedded:
        wanted = ("uint8", "NHWC", [*batch, shape.height, shape.width, shape.channels])
    classes: list[int | str] = [*batch, len(manifest.classes)]
    for which, spec, expected in (
        ("input", manifest.input, wanted),
        ("output", manifest.output, ("float32", "NC", classes)),
    ):
        if (spec.dtype, spec.layout, spec.shape) != expected or not spec.name:
            yield (
                f"{which} {spec.name!r} is {spec.dtype} {spec.layout} {spec.shape}, but by "
                f"preprocessing and classes it is {' '.join(map(str, expected))}"
            )
    if not manifest.classes:
        yield "there are no classes"


def _runtime_problems(runtime: RuntimeRange) -> Iterable[str]:
    versions = [text for text in (runtime.min_version, runtime.max_version) if text is not None]
    for text in versions:
        if not LEADING_NUMBERS.fullmatch(text):
            yield f"{runtime.name} version {text!r} is none; write it as 1.32"
    if not runtime.allows(runtime.min_version):
        yield f"there is no version of {runtime.name} from {versions[0]} to {versions[-1]}"


def _build(record: type[Record], raw: Any) -> Record:
    """A record of a table whose keys are its fields and whose values have their types.

    Raises:
        ValueError: when a key is missing or unknown, or a value has another type.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"{record.__name__} is {raw!r}")
    hints = get_type_hints(record)
    values = {}
    for key, value in raw.items():
        if key not in hints:
            raise ValueError(f"{key!r} is no key of {record.__name__}")
        if is_dataclass(hints[key]):
            values[key] = _build(hints[key], value)
        elif _is_of(value, hints[key]):
            values[key] = value
        else:
            raise ValueError(f"{key} is {value!r}")
    try:
        return record(**values)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _is_of(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if isinstance(value, bool):
        return hint is bool
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is_of(v, get_args(hint)[0]) for v in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_is_of(v, get_args(hint)[1]) for v in value.values())
    return isinstance(value, int | float if hint is float else hint)
