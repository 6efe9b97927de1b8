"""The records of `bundle.json`, a file that anybody can write: nothing of it is believed before
every value has the type and the meaning that it must have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, ClassVar

from foundation.preprocessing import Preprocessing
from foundation.records import build

SCHEMA_VERSION = 2
GRAPH_SCHEMA_VERSION = 3
"""Of graphs that are no classifiers: programs that know these alone refuse it in one line."""
GRAPH = "graph"
DTYPES = (
    "float32", "float64", "float16", "bool", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
"""Types of a graph's inputs and outputs."""
LONGEST_NAME = 300
"""Of a graph's input or output."""
BATCH_AXIS = "batch"
PICTURE_AXES = ("height", "width")

LEADING_NUMBERS = re.compile(r"\d+(\.\d+)*")

_NAME = re.compile(r"\w[\w.+@ -]*")
_MOST_FILES, _LONGEST_PATH, _DEEPEST_PATH = 1000, 512, 16
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TensorSpec:
    """A graph's input or output.

    Attributes:
        name: in the graph.
        dtype: "float32" or "uint8"; of a graph that is no classifier one of `DTYPES`.
        layout: a letter an axis: "NCHW", "NHWC" or "NC"; empty where nobody says.
        shape: sizes; "batch", "height" and "width", or another name, where any number will do.
    """

    name: str
    dtype: str
    layout: str
    shape: list[int | str]

    @property
    def batch(self) -> int | None:
        """How many images it takes at once; None where any number will do."""
        first = self.shape[0]
        return first if isinstance(first, int) else None


@dataclass(frozen=True)
class RuntimeRange:
    """The runtime that a bundle is for, and its versions that can load it.

    Attributes:
        name: of the runtime, such as "onnxruntime".
        min_version, max_version: oldest and newest, such as "1.17"; both included, and "1.32"
            stands for every 1.32.x. None: no newest one is known.
        excluded: those in between that will not do, such as "1.21.0"; "1.21" is every 1.21.x.
    """

    name: str
    min_version: str
    max_version: str | None = None
    excluded: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        versions = [text for text in (self.min_version, self.max_version) if text is not None]
        for text in (*versions, *self.excluded):
            if not LEADING_NUMBERS.fullmatch(text):
                yield f"{self.name} version {text!r} is none; write it as 1.32"
        if not self.allows(self.min_version):
            yield f"there is no version of {self.name} from {versions[0]} to {versions[-1]}"

    def __str__(self) -> str:
        newest = "or newer" if self.max_version is None else f"to {self.max_version}.x"
        but = f", not {' or '.join(self.excluded)}" if self.excluded else ""
        return f"{self.name} {self.min_version} {newest}{but}"

    def allows(self, version: str) -> bool:
        """Whether a version, such as "1.32.0" or "2026.4.1-rc1", is within the range."""
        parsed = version_numbers(version)
        newest = version_numbers(self.max_version or "")
        if any(parsed[: len(none)] == none for none in map(version_numbers, self.excluded)):
            return False
        return parsed >= version_numbers(self.min_version) and parsed[: len(newest)] <= newest


@dataclass(frozen=True, kw_only=True)
class BundleManifest:
    """What every `bundle.json` says, whatever the model is for.

    Attributes:
        name: the bundle's own name, such as "local-onnx-int8".
        role: "student" or "teacher".
        target: the target it was made for.
        format: export format, such as "onnx" or "openvino".
        precision: the number format that was asked for: "fp32", "fp16", "bf16" or "int8".
        model_file: the file that a runtime opens.
        files: SHA-256 of every file of the bundle but `bundle.json`, by relative POSIX path.
        opset: the ONNX operator set that the model was exported with, if it was.
        runtime: what loads it.
        format_facts: what the format has to say of itself (quantisation scheme, ...).
        parity: how the model's outputs agree with the original's on the probe, and the `tolerance`
            that they were held to.
        accuracy: what the model is worth; empty if it was not measured.
        origin: where it came from: the weights' checksum, the recipe, versions.
    """

    name: str
    role: str
    target: str
    format: str
    precision: str
    model_file: str
    files: dict[str, str]
    opset: int | None
    runtime: RuntimeRange
    format_facts: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    schema_version: int

    FURTHER_KEYS: ClassVar[bool] = True

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        if not _NAME.fullmatch(self.name):
            yield f"name {self.name!r} is not a plain name"
        yield from _path_problems(self)


@dataclass(frozen=True, kw_only=True)
class Manifest(BundleManifest):
    """The content of a classifier's `bundle.json`; what every bundle has, `BundleManifest` tells.

    Attributes:
        input: float32 NCHW, or uint8 NHWC where preprocessing is embedded.
        output: the logits, float32 (batch, classes).
        preprocessing: from a uint8 image to the input.
        classes: class names, in the order of the logits.
        parity: how the model's logits agree with the original's on the probe images, and the
            `tolerance` that they were held to; of lower precision, where there were images without
            labels, how often it answers these as FP32 does (`unlabelled`).
        accuracy: `top1` on the `split` with its `n` images, and the 95 % interval `low` to `high`
            of that figure (Wilson); empty if it was not measured.
    """

    input: TensorSpec
    output: TensorSpec
    preprocessing: Preprocessing
    classes: list[str]
    schema_version: int = SCHEMA_VERSION

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from super().problems()
        yield from _spec_problems(self)


@dataclass(frozen=True, kw_only=True)
class GraphManifest(BundleManifest):
    """The content of the `bundle.json` of a graph that is no classifier: it takes arrays by name.

    Attributes:
        inputs: every input, in a fixed shape; one query is one array for each.
        outputs: every output; free sizes have a name.
        parity: for every output what `foundation.output_agreement` says of it, under `outputs`.
        accuracy: what the user's scorer gave: `scores` by name, the first of which judges, and by
            how many `drop` points (hundredths) that lies below the original's, of `tolerated` ones;
            `n` samples.
    """

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    task: str = GRAPH
    schema_version: int = GRAPH_SCHEMA_VERSION

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from super().problems()
        if self.task != GRAPH:
            yield f"task {self.task!r} is none that this program knows"
        for which, specs in (("input", self.inputs), ("output", self.outputs)):
            if not specs:
                yield f"there is no {which}"
            for name, count in Counter(spec.name for spec in specs).items():
                if count > 1:
                    yield f"{which} {name[:80]!r} stands there {count} times"
                if not name or len(name) > LONGEST_NAME or not name.isprintable():
                    yield f"{which} {name[:80]!r} has no plain name"
        for spec in (*self.inputs, *self.outputs):
            if spec.dtype not in DTYPES:
                yield f"{spec.name!r} is {spec.dtype}, which no runtime here takes"
        for spec in self.inputs:
            if not all(isinstance(size, int) and size >= 1 for size in spec.shape):
                yield f"input {spec.name!r} is {spec.shape}; each of its sizes must be a number"


def parse_manifest(raw: Any) -> Manifest | GraphManifest:
    """The manifest in the parsed content of a `bundle.json`, of the kind that it says.

    Keys that a later version adds beside the known ones are passed over.

    Raises:
        ValueError: when it is none, of another schema version, or describes what cannot be.
    """
    if not isinstance(raw, dict):
        raise ValueError("it is no table of keys")
    if "schema_version" not in raw:
        raise ValueError("it has no schema_version")
    version = raw["schema_version"]
    if version == GRAPH_SCHEMA_VERSION:
        return build(GraphManifest, raw)
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}, but this program reads {SCHEMA_VERSION}")
    return build(Manifest, raw)


def version_numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: (1, 32, 0) of "1.32.0+cpu"; () if there are none."""
    match = LEADING_NUMBERS.match(version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _path_problems(manifest: BundleManifest) -> Iterator[str]:
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


def _spec_problems(manifest: Manifest) -> Iterator[str]:
    shape, batch = manifest.preprocessing, manifest.input.shape[:1]
    if batch != [BATCH_AXIS] and not any(isinstance(size, int) and size >= 1 for size in batch):
        name = manifest.input.name
        yield f"input {name!r} is of {batch} images, not of {BATCH_AXIS!r} or a number"
    image: list[int | str] = [shape.channels, shape.height, shape.width]
    expected_input = ("float32", "NCHW", [*batch, *image])
    if shape.embedded:
        sides: list[int | str] = [shape.height, shape.width]
        sides = [*PICTURE_AXES] if shape.resize_embedded else sides
        expected_input = ("uint8", "NHWC", [*batch, *sides, shape.channels])
    classes: list[int | str] = [*batch, len(manifest.classes)]
    for which, spec, expected in (
        ("input", manifest.input, expected_input),
        ("output", manifest.output, ("float32", "NC", classes)),
    ):
        if (spec.dtype, spec.layout, spec.shape) != expected or not spec.name:
            yield (
                f"{which} {spec.name!r} is {spec.dtype} {spec.layout} {spec.shape}, but by "
                f"preprocessing and classes it is {' '.join(map(str, expected))}"
            )
    if not manifest.classes:
        yield "there are no classes"
