"""Fitting inside the graph: a uint8 picture of any size in, as its file holds it.

It is put before a model that takes uint8 images and normalises them itself, and ends in the very
tensor that the model began with. Each runtime resamples by what it has: ONNX Runtime by ONNX's
`Resize` with antialiasing, OpenVINO by its interpolation that is made after Pillow's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnx.parser

from export._libraries import quiet
from export.formats._layer_names import count_anew, names_in
from export.graphs.batches import image_input
from export.graphs.cleaning import opset_of
from export.graphs.embedding import free_name, save_in_place
from foundation.errors import ExportError
from foundation.files import write_bytes
from foundation.manifest import PICTURE_AXES
from foundation.preprocessing import Preprocessing

INPUT_NAME = "pictures"
PREFIX = "fit/"
_OLDEST_OPSET = 18
_ONNX_MODES = {"bilinear": "linear", "bicubic": "cubic"}
_OUTSIDE = "leave fitting outside (--embed-preprocessing normalise)"


def embed_fitting(export_format: str, model_file: Path, preprocessing: Preprocessing) -> str:
    """Rewrite a written model that takes uint8 images so that it takes pictures of any size.

    Args:
        export_format: the format that it is written in.
        model_file: the file that a runtime opens.
        preprocessing: how a picture is fitted.

    Returns:
        The name of the new input, "pictures" unless that is used.

    Raises:
        ExportError: when the format or its operator set has no such resampling.
    """
    check_fittable(export_format, preprocessing)
    return _FITTERS[export_format](model_file, preprocessing)


def check_fittable(export_format: str, preprocessing: Preprocessing) -> None:
    """Raise an ExportError if a format cannot fit pictures so."""
    if export_format not in _FITTERS:
        raise ExportError(
            f"fitting cannot be embedded in format {export_format!r}, only in "
            f"{', '.join(_FITTERS)}; {_OUTSIDE}"
        )
    if preprocessing.resize not in _ONNX_MODES:
        raise ExportError(
            f"the filter {preprocessing.resize!r} cannot be put into a graph, only "
            f"{', '.join(_ONNX_MODES)}; {_OUTSIDE}"
        )
    high, wide = preprocessing.before_the_cut
    if preprocessing.fit == "crop" and (high < preprocessing.height or wide < preprocessing.width):
        raise ExportError(
            f"pictures that are cropped to {preprocessing.height}×{preprocessing.width} from less, "
            f"{high}×{wide}, cannot be fitted in a graph; {_OUTSIDE}"
        )


def _fit_onnx(model_file: Path, preprocessing: Preprocessing) -> str:
    model = onnx.load(model_file)
    opset = opset_of(model)
    if opset < _OLDEST_OPSET:
        raise ExportError(
            f"ONNX resizes with antialiasing since operator set {_OLDEST_OPSET}, but this target "
            f"takes {opset}; {_OUTSIDE}"
        )
    entry = image_input(model)
    axis = entry.type.tensor_type.shape.dim[0]
    text = _prelude(preprocessing, axis.dim_param or str(axis.dim_value), opset, model.ir_version)
    used_names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    name = free_name(INPUT_NAME, used_names)
    prelude = onnx.compose.add_prefix(
        onnx.parser.parse_model(text.replace(INPUT_NAME, name)), PREFIX, rename_inputs=False
    )
    facts = {prop.key: prop.value for prop in model.metadata_props}
    merged = onnx.compose.merge_models(
        prelude, model, io_map=[(f"{PREFIX}images", entry.name)], name=model.graph.name
    )
    onnx.helper.set_model_props(merged, facts)
    onnx.checker.check_model(merged, full_check=True)
    write_bytes(model_file, merged.SerializeToString(deterministic=True))
    return name


def _prelude(shape: Preprocessing, batch: str, opset: int, ir_version: int) -> str:
    """An ONNX model, as text, from pictures to images."""
    high, wide = PICTURE_AXES
    lines = [
        f"turned = Transpose<perm=[0, 3, 1, 2]>({INPUT_NAME})",
        "outer = Shape<start=0, end=2>(turned)",
        *_onnx_size(shape),
        "sizes = Concat<axis=0>(outer, size)",
        f'resized = Resize<{_onnx_resize(shape)}>(turned, "", "", sizes)',
        *_onnx_middle(shape),
        "images = Transpose<perm=[0, 2, 3, 1]>(fitted)",
    ]
    body = "\n".join(f"  {line}" for line in lines)
    return (
        f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>\n'
        f"fit (uint8[{batch}, {high}, {wide}, {shape.channels}] {INPUT_NAME})"
        f" => (uint8[{batch}, {shape.height}, {shape.width}, {shape.channels}] images)"
        f" {{\n{body}\n}}"
    )


def _onnx_size(shape: Preprocessing) -> list[str]:
    """`size`: height and width that the picture is brought to; see `pipeline.data.framing`."""
    high, wide = shape.before_the_cut
    box = f"box = Constant<value_ints=[{high}, {wide}]>()"
    if shape.fit == "squash":
        return [box, "size = Identity(box)"]
    compared, scaled = ("LessOrEqual", _FLOORED) if shape.fit == "crop" else (
        "GreaterOrEqual", _ROUNDED
    )  # fmt: skip
    return [
        box,
        "height = Shape<start=2, end=3>(turned)",
        "width = Shape<start=3, end=4>(turned)",
        f"high = Constant<value_ints=[{high}]>()",
        f"wide = Constant<value_ints=[{wide}]>()",
        "across = Mul(height, wide)",
        "down = Mul(width, high)",
        f"by_height = {compared}(across, down)",
        *(line.format(result="wider", product="down", side="height") for line in scaled),
        *(line.format(result="higher", product="across", side="width") for line in scaled),
        "of_height = Concat<axis=0>(high, wider)",
        "of_width = Concat<axis=0>(higher, wide)",
        "size = Where(by_height, of_height, of_width)",
    ]


_FLOORED = ["{result} = Div({product}, {side})"]
_ROUNDED = [
    "{result}_a = Cast<to=11>({product})",
    "{result}_b = Cast<to=11>({side})",
    "{result}_c = Div({result}_a, {result}_b)",
    "{result}_d = Round({result}_c)",
    "{result}_e = Cast<to=7>({result}_d)",
    "{result}_least = Constant<value_ints=[1]>()",
    "{result} = Max({result}_e, {result}_least)",
]


def _onnx_resize(shape: Preprocessing) -> str:
    """The attributes with which ONNX resamples as Pillow does."""
    mode = _ONNX_MODES[shape.resize]
    common = f'mode="{mode}", coordinate_transformation_mode="half_pixel"'
    if not shape.antialias:
        return common
    return f"{common}, antialias=1, exclude_outside=1, cubic_coeff_a=-0.5"


def _onnx_middle(shape: Preprocessing) -> list[str]:
    """`fitted`: the middle of what was resampled, on a ground where that is smaller."""
    part = f"part = Constant<value_ints=[{shape.height}, {shape.width}]>()"
    before = "resized"
    lines = [part, "axes = Constant<value_ints=[2, 3]>()", "zero = Constant<value_ints=[0, 0]>()"]
    if _may_lack(shape):
        values = ", ".join(f"{float(shade)}" for shade in _pad_shades(shape))
        lines += [
            "missing = Sub(part, size)",
            "lacking = Max(missing, zero)",
            "two = Constant<value_ints=[2]>()",
            "leading = Div(lacking, two)",
            "trailing = Sub(lacking, leading)",
            "pads = Concat<axis=0>(zero, leading, zero, trailing)",
            f"shades = Constant<value = float[1, {shape.channels}, 1, 1] {{{values}}}>()",
            "exact = Cast<to=1>(resized)",
            "relative = Sub(exact, shades)",
            "none = Constant<value_float=0.0>()",
            "around = Pad(relative, pads, none)",
            "absolute = Add(around, shades)",
            "padded = Cast<to=2>(absolute)",
            "larger = Max(size, part)",
        ]
        before, whole = "padded", "larger"
    else:
        whole = "size"
    return [
        *lines,
        f"left_over = Sub({whole}, part)",
        "left_over_f = Cast<to=11>(left_over)",
        "half = Constant<value = double {0.5}>()",
        "middle = Mul(left_over_f, half)",
        "rounded = Round(middle)",  # to even, as Python does
        "start = Cast<to=7>(rounded)",
        "stop = Add(start, part)",
        f"fitted = Slice({before}, start, stop, axes)",
    ]


def _may_lack(shape: Preprocessing) -> bool:
    """Whether a picture may come out smaller than the image."""
    high, wide = shape.before_the_cut
    return shape.fit == "pad" or high < shape.height or wide < shape.width


def _pad_shades(shape: Preprocessing) -> list[int]:
    """What is padded with, a value a channel; grey as Pillow weighs it (ITU-R 601-2)."""
    red, green, blue = shape.pad_colour
    if shape.channels == 3:
        return [red, green, blue]
    return [(red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16]


def _fit_openvino(model_file: Path, preprocessing: Preprocessing) -> str:
    import openvino  # noqa: PLC0415 (a third of a second)

    with quiet():
        model = openvino.Core().read_model(model_file)
        known_names = names_in(model)
        used_names = {
            name for node in model.get_ops() for out in node.outputs() for name in out.names
        }
        name = free_name(INPUT_NAME, used_names)
        old = model.get_parameters()[0]
        batch = old.partial_shape[0]
        axes = [batch, openvino.Dimension(-1), openvino.Dimension(-1), preprocessing.channels]
        pictures = openvino.opset13.parameter(openvino.PartialShape(axes), np.uint8, name)
        pictures.output(0).get_tensor().set_names({name})
        images = _openvino_fit(pictures, preprocessing)
        for target in old.output(0).get_target_inputs():
            target.replace_source_output(images.output(0))
        model.add_parameters([pictures])
        model.remove_parameter(old)
        model.validate_nodes_and_infer_types()
        count_anew(model, known_names)
        save_in_place(model, model_file)
    return name


def _openvino_fit(pictures: Any, shape: Preprocessing) -> Any:
    """From pictures to images, as `_prelude` has it."""
    from openvino import opset13 as ops  # noqa: PLC0415

    def whole(*values: int) -> Any:
        return ops.constant(np.array(values, np.int64))

    turned = ops.transpose(pictures, whole(0, 3, 1, 2))
    sides = ops.slice(ops.shape_of(turned, "i64"), whole(2), whole(4), whole(1))
    high, wide = shape.before_the_cut
    size = whole(high, wide)
    if shape.fit != "squash":
        height, width = (ops.slice(sides, whole(n), whole(n + 1), whole(1)) for n in (0, 1))
        across, down = ops.multiply(height, whole(wide)), ops.multiply(width, whole(high))
        if shape.fit == "crop":
            by_height = ops.less_equal(across, down)
            wider, higher = _floored(down, height), _floored(across, width)
        else:
            by_height = ops.greater_equal(across, down)
            wider, higher = (
                ops.maximum(_rounded(ops.divide(_exact(a), _exact(b))), whole(1))
                for a, b in ((down, height), (across, width))
            )
        of_height = ops.concat([whole(high), wider], 0)
        of_width = ops.concat([higher, whole(wide)], 0)
        size = ops.select(by_height, of_height, of_width)
    resized = ops.interpolate(turned, size, axes=whole(2, 3), **_openvino_resize(shape))
    part = whole(shape.height, shape.width)
    larger = size
    if _may_lack(shape):
        shades = ops.constant(np.array(_pad_shades(shape), np.float32).reshape(1, -1, 1, 1))
        lacking = ops.maximum(ops.subtract(part, size), whole(0, 0))
        leading = _floored(lacking, whole(2))
        outer = whole(0, 0)
        around = ops.pad(
            ops.subtract(ops.convert(resized, "f32"), shades),
            ops.concat([outer, leading], 0),
            ops.concat([outer, ops.subtract(lacking, leading)], 0),
            "constant",
            ops.constant(np.float32(0)),
        )
        resized = ops.convert(ops.add(around, shades), "u8")
        larger = ops.maximum(size, part)
    half = ops.multiply(_exact(ops.subtract(larger, part)), ops.constant(np.float64(0.5)))
    start = _rounded(half)
    fitted = ops.slice(resized, start, ops.add(start, part), whole(1, 1), whole(2, 3))
    return ops.transpose(fitted, whole(0, 2, 3, 1))


def _exact(values: Any) -> Any:
    from openvino import opset13 as ops  # noqa: PLC0415

    return ops.convert(values, "f64")


def _floored(values: Any, by: Any) -> Any:
    """A quotient of whole numbers; the CPU plugin's own is rounded for some."""
    from openvino import opset13 as ops  # noqa: PLC0415

    return ops.convert(ops.floor(ops.divide(_exact(values), _exact(by))), "i64")


def _rounded(values: Any) -> Any:
    from openvino import opset13 as ops  # noqa: PLC0415

    return ops.convert(ops.round(values, "half_to_even"), "i64")


def _openvino_resize(shape: Preprocessing) -> dict[str, Any]:
    """The attributes with which OpenVINO resamples as Pillow does."""
    common = {"shape_calculation_mode": "sizes", "coordinate_transformation_mode": "half_pixel"}
    if not shape.antialias:
        return {**common, "mode": "linear_onnx"}
    return {**common, "mode": f"{shape.resize}_pillow", "cube_coeff": -0.5}


_FITTERS: dict[str, Callable[[Path, Preprocessing], str]] = {
    "onnx": _fit_onnx,
    "openvino": _fit_openvino,
}
