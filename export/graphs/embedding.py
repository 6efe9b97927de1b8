"""Preprocessing inside the graph: uint8 images (N, H, W, C) in, logits out.

It is put before a model that is already written, in whatever precision. So quantisation sees
the same graph and the same calibration as without it, and the integer operators stay as they
are: the prelude ends in the very tensor that the model began with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export._libraries import quiet, writing
from export.formats._layer_names import count_anew, names_in
from export.graphs.batches import image_input
from foundation.bundle import Preprocessing
from foundation.errors import ExportError
from foundation.files import write_bytes

INPUT_NAME = "images"


def embed_preprocessing(export_format: str, model_file: Path, preprocessing: Preprocessing) -> str:
    """Rewrite a written model so that it takes uint8 images and prepares them itself.

    Args:
        export_format: the format that it is written in.
        model_file: the file that a runtime opens; takes prepared images now.
        preprocessing: how they are prepared.

    Returns:
        The name of the new input, "images" unless that is used_names.

    Raises:
        ExportError: when there is no way to do so in the format.
    """
    check_embeddable(export_format)
    return _EMBEDDERS[export_format](model_file, preprocessing)


def check_embeddable(export_format: str) -> None:
    """Raise an ExportError if the format is none in which preprocessing can be embedded."""
    if export_format not in _EMBEDDERS:
        raise ExportError(
            f"preprocessing cannot be embedded in format {export_format!r}, only in "
            f"{', '.join(_EMBEDDERS)}; leave it outside"
        )


def _embed_onnx(model_file: Path, preprocessing: Preprocessing) -> str:
    model = onnx.load(model_file)
    entry = image_input(model)
    used_names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    name = free_name(INPUT_NAME, used_names)
    values = {
        stage: free_name(f"{name}_{stage}", used_names) for stage in ("chw", "float", "scaled")
    }
    # (x / 255 - mean) / std as one product and one sum, worked out in double precision.
    std = np.asarray(preprocessing.std, np.float64).reshape(-1, 1, 1)
    mean = np.asarray(preprocessing.mean, np.float64).reshape(-1, 1, 1)
    constants = {
        free_name(f"{name}_scale", used_names): 1 / (255 * std),
        free_name(f"{name}_offset", used_names): -mean / std,
    }
    scale, offset = constants
    # Turned while a pixel is still one byte, which is a quarter of the work.
    prelude = [
        helper.make_node("Transpose", [name], [values["chw"]], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [values["chw"]], [values["float"]], to=TensorProto.FLOAT),
        helper.make_node("Mul", [values["float"], scale], [values["scaled"]]),
        helper.make_node("Add", [values["scaled"], offset], [entry.name]),
    ]
    batch = entry.type.tensor_type.shape.dim[0]
    shape = [
        batch.dim_param or batch.dim_value,
        preprocessing.height, preprocessing.width, preprocessing.channels,
    ]  # fmt: skip
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*prelude, *nodes])
    model.graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), key) for key, value in constants.items()
    )
    entry.CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, shape))
    onnx.checker.check_model(model, full_check=True)
    write_bytes(model_file, model.SerializeToString(deterministic=True))
    return name


def _embed_openvino(model_file: Path, preprocessing: Preprocessing) -> str:
    import openvino  # noqa: PLC0415 (a third of a second)
    from openvino.preprocess import PrePostProcessor  # noqa: PLC0415

    with quiet():
        model = openvino.Core().read_model(model_file)
        known_names = names_in(model)
        used_names = {
            name for node in model.get_ops() for out in node.outputs() for name in out.names
        }
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(
            openvino.Layout("NHWC")
        )
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(
            [255 * value for value in preprocessing.mean]
        ).scale([255 * value for value in preprocessing.std])
        model = steps.build()
        name = free_name(INPUT_NAME, used_names)
        model.input().get_tensor().set_names({name})
        count_anew(model, known_names)
        save_in_place(model, model_file)
    return name


def save_in_place(model: Any, model_file: Path) -> None:
    """Write an OpenVINO model over the file that it was read from."""
    import openvino  # noqa: PLC0415

    # Reading maps the weights' file into memory, so it cannot be written over.
    with tempfile.TemporaryDirectory(dir=model_file.parent) as scratch:
        # Weights that are halves stay so: asking again would halve the prelude's numbers too.
        scratch_file = Path(scratch, model_file.name)
        weights = model_file.with_suffix(".bin").stat().st_size
        with writing(scratch_file, weights):
            openvino.save_model(model, scratch_file, compress_to_fp16=False)
        for written in Path(scratch).iterdir():
            written.replace(model_file.parent / written.name)


def free_name(name: str, used_names: set[str]) -> str:
    """A name that is not used yet, which then is."""
    while name in used_names:
        name += "_"
    used_names.add(name)
    return name


_EMBEDDERS: dict[str, Callable[[Path, Preprocessing], str]] = {
    "onnx": _embed_onnx,
    "openvino": _embed_openvino,
}
