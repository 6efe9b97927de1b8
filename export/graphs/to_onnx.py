"""From a torch module to a clean FP32 ONNX file."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from export._libraries import failing_as, quiet
from export.checking.reference import frozen_copy, full_float32
from export.graphs.cleaning import cleaned, opset_of
from foundation.errors import ExportError
from foundation.files import write_bytes

INPUT_NAME = "input"
OUTPUT_NAME = "logits"


def export_onnx(model: nn.Module, example: Tensor, path: Path, opset: int) -> None:
    """Write a classifier as one ONNX file that takes any batch size.

    Args:
        model: from images (N, C, H, W) to logits (N, classes); left as it is.
        example: float32 images of the shape that the model takes; their values do not matter.
        path: the file to write, atomically.
        opset: ONNX operator set.

    Raises:
        ExportError: when the exporter cannot take the model, or not in that opset.
        NoSpaceError: when the disk is full.
    """
    name = type(model).__name__
    with failing_as(
        f"{name} cannot be exported to ONNX",
        "its forward must be traceable by torch.export for any batch size, in operators that ONNX "
        "has",
    ):
        graph = _traced(model, example, opset)
        _check_opset(graph, name, opset)
        _check_contract(graph, name)
        # The exporter asks for the newest file version that it knows; older runtimes refuse that.
        graph.ir_version = onnx.helper.find_min_ir_version_for(graph.opset_import)
        write_bytes(path, cleaned(graph).SerializeToString(deterministic=True))


def _traced(model: nn.Module, example: Tensor, opset: int) -> onnx.ModelProto:
    # torch.export takes a batch of one for a constant, so the example has two images.
    pair = example[:1].detach().cpu().repeat(2, 1, 1, 1)
    with quiet(), torch.no_grad(), full_float32():
        program = torch.onnx.export(
            frozen_copy(model),
            (pair,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            opset_version=opset,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter returned nothing")
    return program.model_proto


def _check_opset(graph: onnx.ModelProto, name: str, opset: int) -> None:
    if opset_of(graph) != opset:
        raise ExportError(
            f"{name} cannot be exported with ONNX opset {opset} "
            f"(the exporter kept {opset_of(graph)}); ask for that one or a newer one that it knows"
        )


def _check_contract(graph: onnx.ModelProto, name: str) -> None:
    inputs, outputs = graph.graph.input, graph.graph.output
    shapes = [
        [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
        for output in outputs
    ]
    one_logits_per_image = [(len(shape), isinstance(shape[0], str)) for shape in shapes if shape]
    if len(inputs) != 1 or one_logits_per_image != [(2, True)]:
        raise ExportError(
            f"{name} is not a classifier from images (N, C, H, W) to logits (N, classes): it has "
            f"{len(inputs)} inputs and outputs of shape {shapes}; wrap it in a module that is"
        )
