"""A user's ONNX graph that is no classifier: any arrays go in and any come out, by their names.

It is brought to FP32, to fixed input shapes and to one clean file; what it computes is not touched,
and what its numbers mean is the user's own business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from export._libraries import first_line
from export.graphs.adapting import adapt_form
from export.graphs.cleaning import cleaned
from export.graphs.from_onnx import check_operators, converted, failing, loaded
from export.graphs.inspecting import real_inputs
from export.graphs.notes import drop_notes
from export.graphs.running import IDLE_WHILE_WAITING
from export.graphs.shapes import Shapes, check_is_array, fix_inputs, input_specs
from export.samples import GraphPredictor
from foundation.bundle import TensorSpec
from foundation.files import write_bytes
from foundation.graph_bundle import Feed

_SILENT = 4


def inputs_of(source: Path, shapes: Shapes) -> list[TensorSpec]:
    """What a user's graph takes, in fixed shapes.

    Raises:
        MissingFileError, CorruptFileError: when it cannot be read.
        UnknownNameError, ExportError: as `fix_inputs`; when it is quantised or random.
    """
    return input_specs(_adapted(source, shapes)[0])


def as_one_graph(source: Path, shapes: Shapes, path: Path) -> tuple[int, list[str]]:
    """Write a user's graph, adapted, as one file with all its weights.

    Args:
        source: the user's file; left as it is.
        shapes: sizes that the user said, by input.
        path: the file to write, atomically.

    Returns:
        How many numbers its weights are, and what was done that its user may not expect.

    Raises:
        MissingFileError, CorruptFileError, UnknownNameError, ExportError: as `inputs_of`.
        NoSpaceError: when the disk is full.
    """
    model, remarks = _adapted(source, shapes)
    if not _is_loadable(model):
        free, _ = _adapted(source, shapes, sizes_stay_free=True)
        if _is_loadable(free):
            model = free
            remarks.append(
                "the sizes of its inputs stay free in the file, for with fixed ones ONNX Runtime "
                "cannot load it; a bundle takes the fixed ones all the same"
            )
    write_bytes(path, model.SerializeToString(deterministic=True))
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer), remarks


def clean_graph(source: Path, path: Path, opset: int) -> list[str]:
    """Write an adapted graph as a clean file of an operator set of at most `opset`.

    Returns:
        What could not be done, a line each.

    Raises:
        ExportError: when it is of a newer operator set and cannot be converted.
        NoSpaceError: when the disk is full.
    """
    remarks = []
    with failing(source):
        model = converted(onnx.load(source), source, opset)
        try:
            clean = cleaned(model)
            if _interface(clean) != _interface(model):
                raise ValueError("its inputs and outputs would not be the same")
        except Exception as error:  # a simplifier's failure is no failure of the graph
            remarks.append(f"could not be simplified ({first_line(error)}), and is as it was")
            clean = model
            drop_notes(clean)
        write_bytes(path, clean.SerializeToString(deterministic=True))
    return remarks


def _interface(model: onnx.ModelProto) -> list[tuple[str, int]]:
    """Names and types of what goes in and comes out."""
    values = (*model.graph.input, *model.graph.output)
    return [(value.name, value.type.tensor_type.elem_type) for value in values]


def graph_predictor(source: Path, outputs: Sequence[str] | None = None) -> GraphPredictor:
    """A graph exactly as it is written, with nothing optimised or adapted: what its bundles are
    held against.

    Args:
        source: the file.
        outputs: names of those that are wanted; None for all, in their order.

    Raises:
        MissingFileError, CorruptFileError: when it cannot be read.
        ExportError: when ONNX Runtime cannot run it; so does the function.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(*IDLE_WHILE_WAITING)
    options.log_severity_level = _SILENT
    with failing(source):
        model = loaded(source).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    types = {value.name: _NUMPY_OF.get(value.type) for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()] if outputs is None else list(outputs)

    def predict(feed: Feed) -> list[np.ndarray]:
        with failing(source):
            own = {name: value.astype(types[name]) for name, value in feed.items()}
            values: list[np.ndarray] = session.run(names, own)
            return values

    return predict


_NUMPY_OF = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(bool)": "bool",
} | {
    f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}  # fmt: skip


def _is_loadable(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime loads a model as devices do. Of sizes that are fixed it folds branches
    away, and has then been wrong about the shapes of recurrent layers in those that stay."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # it has kinds of its own; whoever runs the graph tells of it
        return False
    return True


def _adapted(
    source: Path, shapes: Shapes, *, sizes_stay_free: bool = False
) -> tuple[onnx.ModelProto, list[str]]:
    with failing(source):
        model = loaded(source)
        remarks = adapt_form(model, source)
        check_operators(model, source)
        own = deepcopy(real_inputs(model))
        remarks += fix_inputs(model, source, shapes)
        if sizes_stay_free:
            del model.graph.input[:]
            model.graph.input.extend(own)
        for value in model.graph.output:
            check_is_array(value, source, "output")
        model.ir_version = max(model.ir_version, 4)
        # What its sizes were for other inputs says nothing now.
        for value in model.graph.output:
            for axis in value.type.tensor_type.shape.dim:
                axis.Clear()
        model.CopyFrom(onnx.shape_inference.infer_shapes(model))
        if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
            onnx.checker.check_model(model)  # which asks for more than a runtime does
    return model, remarks
