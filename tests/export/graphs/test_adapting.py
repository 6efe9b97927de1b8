"""ONNX files as other tools write them: each gives the same answers in our contract, or one
line that says what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.graphs.from_onnx import import_onnx, onnx_predictor
from export.graphs.inputs import ImageInput, image_input_of
from foundation.bundle import Preprocessing
from foundation.errors import ExportError

SHAPE = Preprocessing(8, 8, 3, [0.5] * 3, [0.25] * 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
FLOAT = TensorProto.FLOAT


def classifier(kind: type = np.float32) -> onnx.ModelProto:
    """Conv, Relu, mean, Gemm; in a floating type of its own."""
    rng = np.random.default_rng(1)
    weights = {
        "kernel": rng.standard_normal((4, 3, 3, 3)).astype(kind),
        "matrix": rng.standard_normal((4, 3)).astype(kind),
    }
    nodes = [
        helper.make_node("Conv", ["photo", "kernel"], ["conv"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["conv"], ["relu"], "second"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], "third"),
        helper.make_node("Flatten", ["pool"], ["flat"], "fourth"),
        helper.make_node("Gemm", ["flat", "matrix"], ["scores"], "fifth"),
    ]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = helper.make_graph(
        nodes,
        "brought",
        [helper.make_tensor_value_info("photo", element, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", element, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def before(model: onnx.ModelProto, nodes: list, value: onnx.ValueInfoProto) -> onnx.ModelProto:
    behind = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *behind])
    model.graph.input[0].CopyFrom(value)
    return model


def behind(model: onnx.ModelProto, nodes: list, *outputs: onnx.ValueInfoProto) -> onnx.ModelProto:
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return model


def value(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def images_last(to: str = "photo") -> onnx.NodeProto:
    return helper.make_node("Transpose", ["x"], [to], perm=[0, 3, 1, 2])


def nhwc() -> onnx.ModelProto:
    return before(classifier(), [images_last()], value("x", FLOAT, "N", 8, 8, 3))


def nhwc_read_twice() -> onnx.ModelProto:
    """As a converter from TensorFlow leaves it: something else reads the images too."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Mul", ["r", "nothing"], ["z"]),
        helper.make_node("Add", ["x", "z"], ["a"]),
        helper.make_node("Transpose", ["a"], ["photo"], perm=[0, 3, 1, 2]),
    ]
    model = before(classifier(), nodes, value("x", FLOAT, "N", "H", "W", 3))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    return model


def in_ai_onnx() -> onnx.ModelProto:
    model = classifier()
    model.opset_import[0].domain = "ai.onnx"
    for node in model.graph.node:
        node.domain = "ai.onnx"
    return model


def same_names() -> onnx.ModelProto:
    model = classifier()
    for node in model.graph.node:
        node.name = "same"
    return model


def with_an_input_that_nothing_reads() -> onnx.ModelProto:
    model = classifier()
    model.graph.input.append(value("is_training", TensorProto.BOOL))
    return model


def with_four_axes() -> onnx.ModelProto:
    model = classifier()
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    node = helper.make_node("Unsqueeze", ["scores", "axes"], ["map"])
    return behind(model, [node], value("map", FLOAT, "N", 3, 1, 1))


def with_argmax() -> onnx.ModelProto:
    node = helper.make_node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0)
    return behind(classifier(), [node], value("class", TensorProto.INT64, "N"))


def with_top_two() -> onnx.ModelProto:
    model = classifier()
    model.graph.initializer.append(numpy_helper.from_array(np.array([2]), "two"))
    node = helper.make_node("TopK", ["scores", "two"], ["best", "which"])
    outputs = value("best", FLOAT, "N", 2), value("which", TensorProto.INT64, "N", 2)
    return behind(model, [node], *outputs)


def with_a_function() -> onnx.ModelProto:
    model = classifier()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("own", "Clip0", ["a"], ["b"], body, opsets))
    model.graph.node[1].op_type, model.graph.node[1].domain = "Clip0", "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def fp16_inside() -> onnx.ModelProto:
    model = classifier(np.float16)
    model.graph.output[0].name = "half"
    model.graph.node[-1].output[0] = "half"
    cast = helper.make_node("Cast", ["x"], ["photo"], to=TensorProto.FLOAT16)
    model = before(model, [cast], value("x", FLOAT, "N", 3, 8, 8))
    back = helper.make_node("Cast", ["half"], ["scores"], to=FLOAT)
    return behind(model, [back], value("scores", FLOAT, "N", 3))


def expected() -> np.ndarray:
    session = onnxruntime.InferenceSession(classifier().SerializeToString())
    return session.run(None, {"photo": SHAPE.apply(IMAGES)})[0]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (classifier, None),
        (nhwc, "is (N, H, W, C)"),
        (nhwc_read_twice, "is (N, H, W, C)"),
        (in_ai_onnx, None),
        (same_names, "4 of its operators had names of others"),
        (with_an_input_that_nothing_reads, "nothing in it reads 'is_training'"),
        (with_four_axes, "the axes of one number are taken away"),
        (with_argmax, "ends in ArgMax"),
        (with_top_two, "ends in TopK"),
        (with_a_function, None),
        (fp16_inside, "it is FLOAT16"),
        (lambda: classifier(np.float16), "it is FLOAT16"),
        (lambda: classifier(np.float64), "it is DOUBLE"),
        (lambda: classifier(ml_dtypes.bfloat16), "it is BFLOAT16"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_the_same_network_written_otherwise_gives_the_same_answers(
    make: Callable[[], onnx.ModelProto], word: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "brought.onnx"
    onnx.save(make(), path)
    remarks = import_onnx(path, SHAPE, tmp_path / "out.onnx", 20)
    assert any(word in line for line in remarks) if word else remarks == []
    made = onnx.load(tmp_path / "out.onnx")
    taken = made.graph.input[0].type.tensor_type
    assert taken.elem_type == FLOAT
    assert [dim.dim_value or dim.dim_param for dim in taken.shape.dim] == ["batch", 3, 8, 8]
    assert {entry.data_type for entry in made.graph.initializer} <= {FLOAT, TensorProto.INT64}
    coarse = bool(remarks) and any(kind in remarks[0] for kind in ("FLOAT16", "BFLOAT16"))
    for predict in (onnx_predictor(path), onnx_predictor(tmp_path / "out.onnx")):
        logits = predict(SHAPE.apply(IMAGES))
        np.testing.assert_allclose(logits, expected(), atol=2e-2 if coarse else 1e-5)


def test_whole_numbers_for_pixels_stay_the_pixels(tmp_path: Path) -> None:
    """A float that a division left just below 7 is 7, not 6."""
    nodes = [
        helper.make_node("Div", ["x", "two"], ["halved"]),  # whole numbers, rounded down
        helper.make_node("Cast", ["halved"], ["f"], to=FLOAT),
        helper.make_node("Transpose", ["f"], ["photo"], perm=[0, 3, 1, 2]),
    ]
    model = before(classifier(), nodes, value("x", TensorProto.UINT8, "N", 8, 8, 3))
    model.graph.initializer.append(numpy_helper.from_array(np.uint8(2), "two"))
    plain = before(
        classifier(),
        [images_last("t"), helper.make_node("Cast", ["t"], ["photo"], to=FLOAT)],
        value("x", TensorProto.UINT8, "N", 8, 8, 3),
    )
    pixels = Preprocessing(8, 8, 3, [0.0] * 3, [1 / 255] * 3)
    for graph in (model, plain):
        onnx.save(graph, tmp_path / "brought.onnx")
        assert image_input_of(tmp_path / "brought.onnx") == ImageInput(8, 8, 3, True, True)
        remarks = import_onnx(tmp_path / "brought.onnx", pixels, tmp_path / "out.onnx", 20)
        assert "takes the pixels themselves" in remarks[0]
        session = onnxruntime.InferenceSession(graph.SerializeToString())
        right = session.run(None, {"x": IMAGES})[0]
        logits = onnx_predictor(tmp_path / "out.onnx")(pixels.apply(IMAGES))
        np.testing.assert_allclose(logits, right, rtol=1e-4, atol=1e-3)
    kinds = {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    assert not kinds & {"Round", "Cast", "Transpose"}  # what is only moved stays floats


def quantised(kind: str) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        model = classifier()
        model.graph.node[1].op_type = kind
        return model

    return make


def dropping() -> onnx.ModelProto:
    model = classifier()
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
    model.graph.node[1].CopyFrom(helper.make_node("Dropout", ["conv", "half", "on"], ["relu"]))
    return model


def noisy() -> onnx.ModelProto:
    model = classifier()
    model.graph.node[1].CopyFrom(helper.make_node("RandomNormalLike", ["conv"], ["relu"]))
    return model


def normalising() -> onnx.ModelProto:
    model = classifier()
    for name in ("scale", "shift", "mean", "variance"):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), name))
    names = ["conv", "scale", "shift", "mean", "variance"]
    model.graph.node[1].CopyFrom(
        helper.make_node("BatchNormalization", names, ["relu", "m", "v"], training_mode=1)
    )
    return model


def not_a_number() -> onnx.ModelProto:
    model = classifier()
    kernel = numpy_helper.to_array(model.graph.initializer[0]).copy()
    kernel[0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "kernel"))
    return model


def two_images() -> onnx.ModelProto:
    node = helper.make_node("Add", ["x", "y"], ["photo"])
    model = before(classifier(), [node], value("x", FLOAT, "N", 3, 8, 8))
    model.graph.input.append(value("y", FLOAT, "N", 3, 8, 8))
    return model


def two_outputs() -> onnx.ModelProto:
    model = classifier()
    model.graph.output.append(value("flat", FLOAT, "N", 4))
    return model


def without_a_batch() -> onnx.ModelProto:
    model = classifier()
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    node = helper.make_node("Unsqueeze", ["x", "zero"], ["photo"])
    return before(model, [node], value("x", FLOAT, 3, 8, 8))


def a_sequence() -> onnx.ModelProto:
    model = classifier()
    model.graph.initializer.append(numpy_helper.from_array(np.array(0), "zero"))
    tensors = helper.make_tensor_type_proto(FLOAT, ["N", 3, 8, 8])
    one = helper.make_value_info("x", helper.make_sequence_type_proto(tensors))
    return before(model, [helper.make_node("SequenceAt", ["x", "zero"], ["photo"])], one)


def signed_bytes() -> onnx.ModelProto:
    node = helper.make_node("Cast", ["x"], ["photo"], to=FLOAT)
    return before(classifier(), [node], value("x", TensorProto.INT8, "N", 3, 8, 8))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (quantised("DynamicQuantizeLinear"), "is quantised already, dynamically"),
        (quantised("QLinearConv"), "is quantised already, in the QOperator form"),
        (quantised("QuantizeLinear"), "is quantised already, in the QDQ form"),
        (quantised("DequantizeLinear"), "is quantised already, in its weights alone"),
        (dropping, r"was exported in training mode \(Dropout\); call model.eval\(\)"),
        (normalising, r"was exported in training mode \(BatchNormalization\)"),
        (noisy, r"draws random numbers \(RandomNormalLike\), so it does not answer the same twice"),
        (not_a_number, "9 of the 108 numbers in 'kernel' are not a number"),
        (two_images, r"has 2 inputs \('x' FLOAT \['N', 3, 8, 8\], 'y'"),
        (two_outputs, r"has 2 outputs .*extract_model"),
        (without_a_batch, r"its input 'x' is FLOAT \[3, 8, 8\], but must be images"),
        (a_sequence, "its input 'x' is a sequence"),
        (signed_bytes, r"its input 'x' is INT8 .*nowhere told"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_is_no_matter_of_a_transpose_or_a_cast_gets_a_line(
    make: Callable[[], onnx.ModelProto], words: str, tmp_path: Path
) -> None:
    onnx.save(make(), tmp_path / "brought.onnx")
    with pytest.raises(ExportError, match=words) as caught:
        import_onnx(tmp_path / "brought.onnx", SHAPE, tmp_path / "out.onnx", 20)
    assert "\n" not in str(caught.value)


def test_probabilities_are_told_and_stay_what_they_are(tmp_path: Path) -> None:
    node = helper.make_node("Softmax", ["scores"], ["p"])
    onnx.save(behind(classifier(), [node], value("p", FLOAT, "N", 3)), tmp_path / "brought.onnx")
    remarks = import_onnx(tmp_path / "brought.onnx", SHAPE, tmp_path / "out.onnx", 20)
    assert remarks == ["it ends in Softmax: it answers with probabilities rather than logits"]
    answers = onnx_predictor(tmp_path / "out.onnx")(SHAPE.apply(IMAGES))
    np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-5)
