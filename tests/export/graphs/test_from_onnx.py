from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.bundling import make_bundles
from export.checking.layers import first_divergence
from export.formats import FORMATS
from export.graphs.batches import batch_of, in_batches_of
from export.graphs.cleaning import opset_of
from export.graphs.from_onnx import import_onnx, onnx_predictor
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource
from export.searching.sensitivity import rank
from foundation.bundle import Preprocessing, TensorSpec, open_bundle
from foundation.errors import CompressError, CorruptFileError, ExportError, MissingFileError

SHAPE = Preprocessing(8, 8, 3, [0.5] * 3, [0.25] * 3)
CLASSES = ["cat", "dog", "eel"]


def brought(
    batch: str | int = "N", opset: int = 20, flatten: str = "Flatten", size: str | int = 8
) -> onnx.ModelProto:
    """A classifier as other tools write it: Conv, Relu, pooling, flatten or reshape, Gemm."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "matrix": rng.standard_normal((16, 3)).astype(np.float32),
        "bias": rng.standard_normal(3).astype(np.float32),
        "fixed": np.array([1, 16], np.int64),
        "rest": np.array([1, -1], np.int64),
        "eight": np.array([8, 16], np.int64),
        "mixing": np.array([2, -1], np.int64),
    }
    flat = (
        helper.make_node("Flatten", ["pool"], ["flat"])
        if flatten == "Flatten"
        else helper.make_node("Reshape", ["pool", flatten], ["flat"], name="reshape")
    )
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["photo", "kernel"], ["conv"], pads=[1] * 4),
            helper.make_node("Relu", ["conv"], ["relu"]),
            helper.make_node(
                "AveragePool", ["relu"], ["pool"], kernel_shape=[4, 4], strides=[4, 4]
            ),
            flat,
            helper.make_node("Gemm", ["flat", "matrix", "bias"], ["scores"]),
        ],
        "brought",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def saved(model: onnx.ModelProto, tmp_path: Path, **how: object) -> Path:
    onnx.save(model, tmp_path / "brought.onnx", **how)
    return tmp_path / "brought.onnx"


def photos(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def source_of(path: Path) -> ExportSource:
    return ExportSource(
        model=path,
        role="student",
        preprocessing=SHAPE,
        classes=CLASSES,
        calibration=photos(24, seed=1),
        probe_images=photos(10),
        evaluation=(photos(30, seed=2), np.zeros(30, np.int64)),
        origin={"file": "brought.onnx"},
    )


def expected_logits(images: np.ndarray) -> np.ndarray:
    """By onnx's own reference, which shares nothing with any runtime."""
    return ReferenceEvaluator(brought()).run(None, {"photo": SHAPE.apply(images)})[0]


def test_a_file_becomes_bundles_in_both_formats(tmp_path: Path) -> None:
    path = saved(brought(), tmp_path)
    before = path.read_bytes()
    kinds = [("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8")]
    # Seven bits: no processor's products of them saturate.
    scheme = QuantizationScheme(reduce_range=True)
    requests = [BundleRequest("local", *kind, scheme=scheme) for kind in kinds]
    for manifest in make_bundles(source_of(path), requests, tmp_path / "b"):
        assert manifest.input == TensorSpec("photo", "float32", "NCHW", ["batch", 3, 8, 8])
        assert manifest.output == TensorSpec("scores", "float32", "NC", ["batch", 3])
        assert manifest.accuracy["n"] == 30
        assert "torch" not in manifest.format_facts
        bundle = open_bundle(tmp_path / "b" / manifest.name)
        images, logits = bundle.probe()
        np.testing.assert_allclose(logits, expected_logits(images), rtol=1e-4, atol=1e-4)
        predict = FORMATS.get(manifest.format)().load(bundle.model_path)
        close = 1e-4 if manifest.precision == "fp32" else 0.1
        found = predict(bundle.prepare(images))
        assert np.abs(found - logits).max() <= close * np.abs(logits).max()
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["brought.onnx"]


@pytest.mark.parametrize("flatten", ["Flatten", "fixed", "rest"])
@pytest.mark.parametrize("batch", [1, "N"])
def test_a_batch_of_one_is_made_free(batch: str | int, flatten: str, tmp_path: Path) -> None:
    path = saved(brought(batch, flatten=flatten), tmp_path)
    import_onnx(path, SHAPE, tmp_path / "out.onnx", 20)
    assert batch_of(tmp_path / "out.onnx") is None
    images = photos(5)
    logits = FORMATS.get("onnx")().predict(tmp_path / "out.onnx", SHAPE.apply(images))
    np.testing.assert_allclose(logits, expected_logits(images), rtol=1e-4, atol=1e-4)


def test_a_batch_of_eight_is_made_free_too_or_refused(tmp_path: Path) -> None:
    path = saved(brought(8, flatten="eight"), tmp_path)
    import_onnx(path, SHAPE, tmp_path / "out.onnx", 20)
    assert batch_of(tmp_path / "out.onnx") is None
    np.testing.assert_allclose(
        onnx_predictor(path)(SHAPE.apply(photos(11))),
        expected_logits(photos(11)),
        rtol=1e-4,
        atol=1e-4,
    )
    stuck = stuck_to(brought(8), 8)
    with pytest.raises(ExportError, match="takes 8 images at once, no fewer"):
        import_onnx(saved(stuck, tmp_path), SHAPE, tmp_path / "other.onnx", 20)
    assert not (tmp_path / "other.onnx").exists()


def stuck_to(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """The model with a token of a fixed batch joined on, as vision transformers have them."""
    token = np.zeros((size, 4, 1, 2), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(token, "token"))
    nodes = list(model.graph.node)
    join = helper.make_node("Concat", ["token", "pool"], ["joined"], axis=2)
    cut = helper.make_node("Slice", ["joined", "one", "three", "two"], ["cut"])
    for name, value in (("one", 1), ("two", 2), ("three", 3)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    nodes[3].input[0] = "cut"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:3], join, cut, *nodes[3:]])
    return model


@pytest.mark.parametrize("kind", product(("onnx", "openvino"), ("fp32", "int8")))
@pytest.mark.parametrize("embed", [False, True])
def test_a_batch_of_one_that_cannot_be_freed_is_kept(
    kind: tuple[str, str], embed: bool, tmp_path: Path
) -> None:
    path = saved(stuck_to(brought(1), 1), tmp_path)
    request = BundleRequest("local", *kind, embedding="normalise" if embed else "none")
    (manifest,) = make_bundles(source_of(path), [request], tmp_path / "b")
    assert manifest.input.batch == 1
    assert manifest.output.shape == [1, 3]
    assert manifest.accuracy["n"] == 30
    bundle = open_bundle(tmp_path / "b" / manifest.name)
    images, logits = bundle.probe()
    np.testing.assert_allclose(logits, expected_logits(images), rtol=1e-4, atol=1e-4)
    assert "exactly 1 image at once" in (bundle.folder / "README.md").read_text()
    predict = FORMATS.get(manifest.format)().load(bundle.model_path)
    assert predict(bundle.prepare(images[:1])).shape == (1, 3)


def test_operators_of_a_batch_of_one_are_ranked_and_compared(tmp_path: Path) -> None:
    path = saved(stuck_to(brought(1), 1), tmp_path)
    import_onnx(path, SHAPE, tmp_path / "one.onnx", 20)
    images = SHAPE.apply(photos(5))
    costs = rank(tmp_path / "one.onnx", images, QuantizationScheme())
    assert {"Conv", "Gemm"} <= {cost.kind for cost in costs}
    written = FORMATS.get("onnx")().write(
        tmp_path / "one.onnx", "int8", tmp_path, images, QuantizationScheme()
    )
    report = first_divergence(
        tmp_path / "one.onnx", tmp_path / written.model_file, "onnx", images, "int8"
    )
    assert len(report.layers) >= 3


def test_sizes_that_the_file_leaves_free_are_the_preprocessings(tmp_path: Path) -> None:
    import_onnx(saved(brought(size="S"), tmp_path), SHAPE, tmp_path / "out.onnx", 20)
    (entry,) = onnx.load(tmp_path / "out.onnx").graph.input
    assert [dim.dim_value for dim in entry.type.tensor_type.shape.dim[1:]] == [3, 8, 8]


def test_weights_in_a_file_beside_it_are_taken_in(tmp_path: Path) -> None:
    path = saved(
        brought(), tmp_path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert (tmp_path / "w.bin").stat().st_size > 100
    import_onnx(path, SHAPE, tmp_path / "alone" / "out.onnx", 20)
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["out.onnx"]
    images = SHAPE.apply(photos(3))
    logits = FORMATS.get("onnx")().predict(tmp_path / "alone" / "out.onnx", images)
    np.testing.assert_allclose(logits, expected_logits(photos(3)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(onnx_predictor(path)(images), logits, rtol=1e-4, atol=1e-4)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(MissingFileError, match="its weights lie in a file") as caught:
        import_onnx(path, SHAPE, tmp_path / "out.onnx", 20)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("opset", "allowed", "kept"), [(21, 18, 18), (20, 20, 20), (17, 20, 17)])
def test_a_newer_operator_set_is_converted_and_an_older_one_stays(
    opset: int, allowed: int, kept: int, tmp_path: Path
) -> None:
    model = brought(opset=opset)
    model.ir_version = 10
    import_onnx(saved(model, tmp_path), SHAPE, tmp_path / "out.onnx", allowed)
    assert opset_of(onnx.load(tmp_path / "out.onnx")) == kept
    logits = FORMATS.get("onnx")().predict(tmp_path / "out.onnx", SHAPE.apply(photos(3)))
    np.testing.assert_allclose(logits, expected_logits(photos(3)), rtol=1e-4, atol=1e-4)


def test_an_operator_set_that_cannot_be_converted_is_told(tmp_path: Path) -> None:
    """Gelu came with set 20, and no older one has it."""
    model = brought()
    model.graph.node[1].op_type = "Gelu"
    with pytest.raises(ExportError, match=r"uses ONNX opset 20.*takes 18 at most") as caught:
        import_onnx(saved(model, tmp_path), SHAPE, tmp_path / "out.onnx", 18)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.onnx").exists()


def test_old_files_that_list_weights_among_the_inputs_are_taken(tmp_path: Path) -> None:
    model = brought(opset=11)
    model.ir_version = 3
    for entry in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(entry.name, entry.data_type, list(entry.dims))
        )
    path = saved(model, tmp_path)
    (manifest,) = make_bundles(
        source_of(path), [BundleRequest("local", "onnx", "int8")], tmp_path / "b"
    )
    assert manifest.input.name == "photo"
    assert manifest.opset == 20  # scales a channel came with 13


_RELU = helper.make_tensor_value_info("relu", TensorProto.FLOAT, ["N", 4, 8, 8])


def two_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(_RELU)


def quantised(model: onnx.ModelProto) -> None:
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in (("s", np.float32(0.1)), ("z", np.uint8(128)))
    )
    model.graph.node[0].input[0] = "back"
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["back"]))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["photo", "s", "z"], ["q"]))


def wrong_type(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Reelu"


def of_nobodys_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "my.own"
    model.opset_import.append(helper.make_opsetid("my.own", 1))


UNFIT: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "two outputs": (two_outputs, "has 2 outputs"),
    "quantised": (quantised, "is quantised already"),
    "an operator that is none": (wrong_type, "cannot be used .*Reelu"),
    "an operator of nobody's": (of_nobodys_domain, "uses my.own.Relu, which ONNX Runtime does not"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_file_that_does_not_fit_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    spoil, words = UNFIT[case]
    model = brought()
    spoil(model)
    path = saved(model, tmp_path)
    with pytest.raises(ExportError, match=words) as caught:
        make_bundles(source_of(path), [BundleRequest("local", "onnx", "fp32")], tmp_path / "b")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert list((tmp_path / "b").iterdir()) == []


def test_images_of_another_size_or_order_are_told(tmp_path: Path) -> None:
    path = saved(brought(), tmp_path)
    for shape in (Preprocessing(9, 8, 3, [0.5] * 3, [1.0] * 3), Preprocessing(8, 8, 1, [0.5], [1])):
        with pytest.raises(ExportError, match=r"takes images \['N', 3, 8, 8\], but") as caught:
            import_onnx(path, shape, tmp_path / "out.onnx", 20)
        assert f"(N, {shape.channels}, {shape.height}, 8)" in str(caught.value)


def test_classes_that_disagree_are_told(tmp_path: Path) -> None:
    source = dataclasses.replace(source_of(saved(brought(), tmp_path)), classes=["a", "b"])
    with pytest.raises(ExportError, match=r"brought\.onnx gives logits .* 2 classes"):
        make_bundles(source, [BundleRequest("local", "onnx", "fp32")], tmp_path / "b")


@pytest.mark.parametrize("content", [b"", b"no model", bytes(100), b"\x08\x09"])
def test_what_is_no_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.onnx").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"odd\.onnx: not an ONNX file") as caught:
        import_onnx(tmp_path / "odd.onnx", SHAPE, tmp_path / "out.onnx", 20)
    assert "\n" not in str(caught.value)
    assert "DecodeError" not in str(caught.value)
    with pytest.raises(MissingFileError, match=r"nope\.onnx: no such file"):
        onnx_predictor(tmp_path / "nope.onnx")


def test_a_changed_byte_anywhere_is_one_line_or_harmless(tmp_path: Path) -> None:
    sound = saved(brought(), tmp_path).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(sound), 40):
        spoilt = bytearray(sound)
        spoilt[place] ^= 0xFF
        (tmp_path / "spoilt.onnx").write_bytes(spoilt)
        try:
            import_onnx(tmp_path / "spoilt.onnx", SHAPE, tmp_path / "out.onnx", 20)
        except CompressError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(("count", "size"), [(1, 4), (4, 4), (9, 4), (3, 1), (5, None)])
def test_any_number_of_images_goes_through_a_fixed_batch(count: int, size: int | None) -> None:
    seen: list[int] = []

    def sums(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return images.sum((1, 2, 3), keepdims=True)[:, :, 0, 0]

    images = np.random.default_rng(0).random((count, 3, 2, 2), np.float32)
    np.testing.assert_array_equal(
        in_batches_of(sums, size)(images), images.sum((1, 2, 3), keepdims=True)[:, :, 0, 0]
    )
    assert set(seen) == {size or count}
