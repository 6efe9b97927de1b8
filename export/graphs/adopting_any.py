"""A user's ONNX graph that is no classifier is opened, run and folded for the first time: in a
process of its own, as `export.graphs.adopting` does with a classifier.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.bundle import TensorSpec
from foundation.confinement import ProcessLimits, run_confined
from foundation.errors import ExportError, MissingFileError
from foundation.records import build

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_NEWEST_OPSET = 20
_FREE = "free"
# ONNX Runtime says it in many ways.
_OUT_OF_MEMORY = re.compile(r"bfc_arena|bad_alloc|[Ff]ailed to allocate|more than \d+ bytes")


@dataclass(frozen=True)
class AdoptedGraph:
    """What is known of a user's graph.

    Attributes:
        parameters: how many numbers its weights are.
        outputs: what it gives; a size that hangs on the sample has a name.
        remarks: what was done that its user may not expect, a line each.
    """

    parameters: int
    outputs: list[TensorSpec]
    remarks: list[str]


def adopt_graph(
    source: Path, shapes: Mapping[str, Sequence[int]], path: Path, *, probe: Path, reference: Path
) -> AdoptedGraph:
    """Write a user's graph as one file in fixed shapes, and ask the file as it came what it gives.

    Args:
        source: the user's file; left as it is.
        shapes: sizes that the user said, by input.
        path: the file to write, atomically.
        probe: an .npz of samples, `inputs/NAME` (samples, *shape).
        reference: the .npz to write with what the user's own file gives for them.

    Raises:
        MissingFileError, CorruptFileError: when the file cannot be read.
        UnknownNameError: when a shape is said of an input that there is none of.
        ExportError: when it cannot be brought to that form or run, does not answer the same twice,
            or takes more memory or time than a model of its size may.
        NoSpaceError: when the disk is full.
    """
    if not source.is_file():
        raise MissingFileError(f"{source}: no such file; name an ONNX model")
    beside = [file for file in source.parent.glob(f"{source.stem}*") if file.is_file()]
    job = {
        "source": str(source.absolute()),
        "named": str(source),
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "path": str(path.absolute()),
        "probe": str(probe.absolute()),
        "reference": str(reference.absolute()),
    }
    size = sum(file.stat().st_size for file in (*beside, probe))
    reply = run_confined(__name__, job, ProcessLimits.for_model(size), str(source), ExportError)
    return build(AdoptedGraph, reply)


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """What `adopt_graph` asks of the other process."""
    from export.graphs.any_graph import as_one_graph, clean_graph  # noqa: PLC0415
    from foundation.errors import CompressError  # noqa: PLC0415

    source, path = Path(job["source"]), Path(job["path"])
    try:
        parameters, remarks = as_one_graph(source, job["shapes"], path)
        with tempfile.TemporaryDirectory() as scratch:
            clean = Path(scratch, "clean.onnx")
            clean_graph(path, clean, _NEWEST_OPSET)
            outputs = _reference(source, clean, Path(job["probe"]), Path(job["reference"]))
    except CompressError as error:
        if _OUT_OF_MEMORY.search(str(error)):
            raise MemoryError from error
        raise type(error)(str(error).replace(job["source"], job["named"])) from error
    return asdict(AdoptedGraph(parameters, outputs, remarks))


def _reference(source: Path, clean: Path, probe: Path, target: Path) -> list[TensorSpec]:
    """Ask the user's own file about the probe; keep what it gives, and say of which form it is."""
    import numpy as np  # noqa: PLC0415
    import onnx  # noqa: PLC0415

    from export.graphs.any_graph import graph_predictor  # noqa: PLC0415
    from export.graphs.inspecting import sizes_of  # noqa: PLC0415
    from export.samples import GraphSamples, outputs_of  # noqa: PLC0415

    with np.load(probe, allow_pickle=False) as arrays:
        inputs = {
            name.removeprefix("inputs/"): arrays[name]
            for name in arrays.files
            if name.startswith("inputs/")
        }
    count = len(next(iter(inputs.values())))
    samples = GraphSamples(inputs, [str(number) for number in range(count)])
    declared = onnx.load(clean, load_external_data=False).graph.output
    own = {value.name: sizes_of(value) for value in _outputs_in(source)}
    names = [value.name for value in declared]
    predict = graph_predictor(source, names)
    outputs = outputs_of(predict, names, samples)
    again = dict(zip(names, predict(samples.feed(0)), strict=True))
    specs = [_spec(value, own[value.name], outputs[value.name], source) for value in declared]
    for spec in specs:
        outputs[spec.name] = [value.astype(spec.dtype) for value in outputs[spec.name]]
        _check_answers(spec, outputs[spec.name], again[spec.name], source)
    values: dict[str, Any] = {
        f"outputs/{name}/{at}": value
        for name, answers in outputs.items()
        for at, value in enumerate(answers)
    }
    with target.open("wb") as file:
        np.savez(file, **values)
    return specs


def _outputs_in(source: Path) -> Sequence[onnx.ValueInfoProto]:
    import onnx  # noqa: PLC0415

    return list(onnx.load(source, load_external_data=False).graph.output)


def _spec(
    value: onnx.ValueInfoProto,
    own: Sequence[int | str],
    answers: Sequence[NDArray[Any]],
    source: Path,
) -> TensorSpec:
    """An output as the graph tells of it and as it was seen: a size is a number where both agree,
    and else has the name that the user's file (`own`) has for it."""
    from export.graphs.inspecting import sizes_of  # noqa: PLC0415
    from export.graphs.shapes import dtype_of  # noqa: PLC0415

    ranks = {answer.ndim for answer in answers}
    if len(ranks) > 1:
        raise ExportError(
            f"{source}: its output {value.name!r} has {min(ranks)} axes for some samples and "
            f"{max(ranks)} for others; no device could rely on that: export it otherwise"
        )
    seen = list(zip(*(answer.shape for answer in answers), strict=True))
    unknown: list[int | str] = [_FREE] * len(seen)
    told = sizes_of(value) if len(sizes_of(value)) == len(seen) else unknown
    names = own if len(own) == len(seen) else unknown
    sizes: list[int | str] = [
        size if isinstance(size, int) and set(sizes) == {size} else _name(name)
        for size, name, sizes in zip(told, names, seen, strict=True)
    ]
    return TensorSpec(value.name, dtype_of(value), "", sizes)


def _name(size: int | str) -> str:
    return size if isinstance(size, str) and size != "?" else _FREE


def _check_answers(
    spec: TensorSpec, answers: Sequence[NDArray[Any]], again: NDArray[Any], source: Path
) -> None:
    """A reference is the same each time, and of numbers.

    Raises:
        ExportError: when it is not.
    """
    import numpy as np  # noqa: PLC0415

    if not np.array_equal(answers[0], again.astype(spec.dtype), equal_nan=spec.dtype[0] == "f"):
        raise ExportError(
            f"{source}: its output {spec.name!r} is not the same for the same sample twice, so "
            "there is nothing to hold a bundle against; export it without chance or memory"
        )
    for number, answer in enumerate(answers):
        if answer.dtype.kind == "f" and np.isnan(answer).any():
            raise ExportError(
                f"{source}: its output {spec.name!r} is not a number (NaN) for sample {number} of "
                "the probe; check the samples, and the graph"
            )
