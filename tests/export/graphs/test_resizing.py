"""Fitting inside the graph, against fitting outside of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from export.bundling import make_bundles
from export.formats import FORMATS
from export.graphs.resizing import embed_fitting
from export.requests import BundleRequest, ExportSource
from foundation.bundle import open_bundle
from foundation.errors import ExportError
from foundation.preprocessing import Preprocessing
from pipeline.data.framing import Fit
from pipeline.data.images import framed_pixels

SHAPES = [(37, 64), (64, 37), (50, 50), (9, 90), (120, 31), (20, 21)]
EMBEDDED = Preprocessing(24, 20, 3, [0.0] * 3, [1.0] * 3, embedded=True)


def echo(folder: Path, shape: Preprocessing, opset: int = 20) -> Path:
    """A model that gives the bytes that it is given."""
    size = ["batch", shape.height, shape.width, shape.channels]
    flat = shape.height * shape.width * shape.channels
    nodes = [
        helper.make_node("Cast", ["images"], ["exact"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["exact"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "echo",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, size)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", flat])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def written(folder: Path, name: str, shape: Preprocessing) -> Path:
    file = echo(folder, shape)
    if name == "onnx":
        return file
    import openvino  # noqa: PLC0415

    openvino.save_model(openvino.convert_model(file), folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(height * 100 + width)
    rough = random.integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    return pixels if channels == 3 else pixels[..., :1].copy()


def fitted(name: str, file: Path, pixels: np.ndarray, shape: Preprocessing) -> np.ndarray:
    answer = FORMATS.get(name)().load(file)(pixels[None])
    return answer.reshape(shape.height, shape.width, shape.channels)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"resize": "bicubic", "fit": "crop", "resize_to": [28, 26]},
        {"fit": "crop"},
        {"fit": "squash", "resize_to": [21, 17], "pad_colour": [9, 99, 199]},
        {"fit": "pad", "pad_colour": [255, 0, 90]},
        {"fit": "pad", "resize_to": [30, 22], "resize": "bicubic"},
        {"antialias": False},
        {"channels": 1, "mean": [0.0], "std": [1.0], "fit": "pad", "pad_colour": [255, 0, 0]},
    ],
    ids=str,
)
def test_gives_the_pixels_that_fitting_outside_gives(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    shape = replace(EMBEDDED, **settings)
    file = written(tmp_path, name, shape)
    assert embed_fitting(name, file, shape) == "pictures"
    for size in SHAPES:
        pixels = picture(*size, shape.channels)
        expected = framed_pixels(pixels[None], Fit.of(shape))[0].astype(int)
        off = np.abs(fitted(name, file, pixels, shape) - expected)
        assert (off.max(), off.mean()) <= (4, 0.3), size


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"fit": "crop", "resize_to": [29, 27]}, {"fit": "squash", "resize_to": [21, 17]},
     {"fit": "pad"}, {"fit": "pad", "resize_to": [28, 22]}, {"resize_to": [27, 27]}],
    ids=str,
)  # fmt: skip
def test_finds_images_that_are_prepared_already_in_pictures_made_of_them(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    shape = replace(EMBEDDED, **settings, resize_embedded=True)
    file = written(tmp_path, name, shape)
    embed_fitting(name, file, shape)
    images = np.stack([framed_pixels(picture(*size)[None], Fit.of(shape))[0] for size in SHAPES])
    answers = FORMATS.get(name)().load(file)(shape.prepare(images))
    np.testing.assert_array_equal(answers.reshape(images.shape), images)


def test_of_a_filter_or_an_operator_set_that_has_none_is_refused(tmp_path: Path) -> None:
    file = echo(tmp_path, EMBEDDED, opset=17)
    with pytest.raises(ExportError, match="'lanczos' cannot be put into a graph"):
        embed_fitting("onnx", file, replace(EMBEDDED, resize="lanczos"))
    with pytest.raises(ExportError, match="since operator set 18, but this target takes 17"):
        embed_fitting("onnx", file, EMBEDDED)
    with pytest.raises(ExportError, match="to 24×20 from less, 21×20"):
        embed_fitting("onnx", file, replace(EMBEDDED, fit="crop", resize_to=[21, 20]))
    with pytest.raises(ExportError, match="in format 'tflite'"):
        embed_fitting("tflite", file, EMBEDDED)


def fitted_outside(fit: Fit, pixels: np.ndarray) -> np.ndarray:
    return framed_pixels(pixels[None], fit)[0]


@pytest.mark.parametrize("kind", ["onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"])
def test_a_bundle_takes_pictures_of_any_size_and_is_as_right_as_one_that_takes_images(
    source: ExportSource, tmp_path: Path, kind: str
) -> None:
    shape = replace(source.preprocessing, fit="crop", resize_to=[40, 36], resize="bicubic")
    fit = Fit.of(shape)
    own = replace(
        source, preprocessing=shape, fit=lambda pixels: framed_pixels(pixels[None], fit)[0]
    )
    name, precision = kind.split("-")
    plain, fitting = (
        make_bundles(own, [BundleRequest("local", name, precision, embedding=embedding)], folder)[0]
        for embedding, folder in (("normalise", tmp_path / "a"), ("resize", tmp_path / "b"))
    )
    assert fitting.input.shape == ["batch", "height", "width", 3]
    assert fitting.accuracy["top1"] == plain.accuracy["top1"]
    assert fitting.parity["resize"]["n"] == 16
    assert fitting.parity["resize"]["signal_to_noise_db"] > 20
    bundle = open_bundle(tmp_path / "b" / f"local-{kind}")
    images, logits = bundle.probe()
    answers = FORMATS.get(name)().load(bundle.model_path)(bundle.prepare(images))
    assert (answers.argmax(1) == logits.argmax(1)).mean() >= 0.9
    card = (bundle.folder / "README.md").read_text()
    assert "The model fits a picture of any size" in card


def test_a_graph_that_fits_otherwise_is_refused(source: ExportSource, tmp_path: Path) -> None:
    """It sees the whole of a picture, and the source only the middle."""
    own = replace(source, fit=partial(fitted_outside, Fit(32, 32, "crop", (99, 99))))
    request = BundleRequest("local", "onnx", "fp32", embedding="resize")
    with pytest.raises(ExportError, match="sees pictures that its graph fits otherwise") as caught:
        make_bundles(own, [request], tmp_path)
    assert "\n" not in str(caught.value)
