from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from export.bundling import make_bundle, make_bundles
from export.checking.parity import TOLERANCES
from export.checking.reference import torch_predictor
from export.formats import FORMATS, ExportFormat, Predictor, Written
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource, bundle_name
from foundation.answers import read_answers
from foundation.bundle import Manifest, RuntimeRange, TensorSpec, open_bundle
from foundation.errors import CorruptFileError, ExportError, UnknownNameError
from foundation.statistics import wilson_interval

Bundles = dict[str, tuple[Path, Manifest]]
EVERY = ["onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-fp16", "openvino-int8"]
SCHEME = QuantizationScheme()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", EVERY)
def test_a_bundle_opens_and_says_what_was_made(
    kind: str, bundles: Bundles, source: ExportSource
) -> None:
    folder, manifest = bundles[kind]
    bundle = open_bundle(folder)
    assert bundle.manifest == manifest
    assert folder.name == manifest.name == f"local-{kind}"
    assert f"{manifest.format}-{manifest.precision}" == kind
    assert (manifest.role, manifest.target) == ("student", "local")
    assert manifest.input == TensorSpec("input", "float32", "NCHW", ["batch", 3, 32, 32])
    assert manifest.output == TensorSpec("logits", "float32", "NC", ["batch", 4])
    assert manifest.classes == source.classes
    assert manifest.preprocessing == source.preprocessing
    assert manifest.origin == source.origin
    model_files = ["model.onnx"] if manifest.format == "onnx" else ["model.bin", "model.xml"]
    assert sorted(manifest.files) == ["README.md", *model_files, "probe.npz"]
    assert {path.name for path in folder.iterdir()} == {*manifest.files, "bundle.json"}


@pytest.mark.parametrize("kind", EVERY)
def test_the_probe_carries_torchs_own_logits(
    kind: str, bundles: Bundles, source: ExportSource
) -> None:
    images, logits = open_bundle(bundles[kind][0]).probe()
    np.testing.assert_array_equal(images, source.probe_images)
    expected = torch_predictor(source.model)(source.preprocessing.apply(images))
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("kind", EVERY)
def test_parity_and_accuracy_are_measured_on_the_written_file(
    kind: str, bundles: Bundles, source: ExportSource
) -> None:
    folder, manifest = bundles[kind]
    predict = FORMATS.get(manifest.format)().load(folder / manifest.model_file)
    images, logits = open_bundle(folder).probe()
    outputs = predict(source.preprocessing.apply(images))
    assert manifest.parity["max_abs_error"] == pytest.approx(np.abs(outputs - logits).max())
    assert manifest.parity["n"] == 20
    assert source.evaluation is not None
    test_images, labels = source.evaluation
    right = predict(source.preprocessing.apply(test_images)).argmax(1) == labels
    low, high = wilson_interval(int(right.sum()), 150)
    accuracy = dict(manifest.accuracy)
    drop = accuracy.pop("drop", None)
    assert accuracy == {
        "top1": right.mean(), "n": 150, "split": "test", "low": low, "high": high,
    }  # fmt: skip
    assert (drop is None) == (manifest.precision == "fp32")
    assert manifest.parity["between_batches"] < 1e-4
    assert manifest.accuracy["top1"] > 0.8
    limits = TOLERANCES[manifest.precision]
    assert manifest.parity["tolerance"]["top1_agreement"] == limits.top1_agreement
    expected = None if limits.relative_error == float("inf") else limits.relative_error
    assert manifest.parity["tolerance"]["relative_error"] == expected


def test_lower_precision_costs_some_error_and_some_bytes_less(bundles: Bundles) -> None:
    error = {kind: bundles[kind][1].parity["relative_error"] for kind in EVERY}
    assert error["onnx-fp32"] < error["onnx-int8"]
    assert error["openvino-fp32"] < error["openvino-fp16"] < error["openvino-int8"]
    weights = {
        kind: (bundles[kind][0] / "model.bin").stat().st_size for kind in EVERY if "vino" in kind
    }
    assert weights["openvino-int8"] < weights["openvino-fp16"] < weights["openvino-fp32"]


def test_a_changed_byte_is_found_when_the_bundle_is_opened(
    bundles: Bundles, tmp_path: Path
) -> None:
    for kind, file in (("openvino-fp32", "model.bin"), ("onnx-int8", "probe.npz")):
        folder = shutil.copytree(bundles[kind][0], tmp_path / kind)
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content)
        with pytest.raises(CorruptFileError, match=file):
            open_bundle(folder)


def test_the_same_inputs_give_the_same_numbers_and_the_same_onnx_bundles(
    bundles: Bundles, source: ExportSource, tmp_path: Path
) -> None:
    kinds = ["onnx-fp32", "onnx-int8", "openvino-int8"]
    scheme = QuantizationScheme(reduce_range=True)
    requests = [BundleRequest("local", *kind.split("-"), scheme=scheme) for kind in kinds]
    for kind, again in zip(kinds, make_bundles(source, requests, tmp_path), strict=True):
        manifest = bundles[kind][1]
        assert again.parity == manifest.parity
        assert again.accuracy == manifest.accuracy
        assert again.files["probe.npz"] == manifest.files["probe.npz"]
        if "onnx-" in kind:
            assert again.files == manifest.files


def test_one_channel_works_in_every_format_and_precision(
    gray_source: ExportSource, tmp_path: Path
) -> None:
    requests = [BundleRequest("board", *kind.split("-")) for kind in EVERY]
    said: list[str] = []
    manifests = make_bundles(gray_source, requests, tmp_path, said.append)
    assert [manifest.name for manifest in manifests] == [f"board-{kind}" for kind in EVERY]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(m.name for m in manifests)
    assert all(manifest.accuracy["top1"] > 0.8 for manifest in manifests)
    assert sum("exporting to ONNX" in line for line in said) == 1
    assert len(said) == 1 + len(EVERY)


def test_what_the_checks_found_out_is_kept_beside_the_bundle_where_somebody_asks_for_it(
    source: ExportSource, tmp_path: Path
) -> None:
    scheme = QuantizationScheme(reduce_range=True)
    requests = [BundleRequest("local", "onnx", kind, scheme=scheme) for kind in ("fp32", "int8")]
    root, findings = tmp_path / "bundles", tmp_path / "findings"
    manifests = make_bundles(source, requests, root, findings=findings)
    assert source.evaluation is not None
    images, labels = source.evaluation
    for manifest in manifests:
        answers = read_answers(findings / manifest.name / "answers.csv", len(source.classes))
        assert np.array_equal(answers.labels, labels)
        assert answers.right.mean() == manifest.accuracy["top1"]
        load = FORMATS.get("onnx")().load(root / manifest.name / manifest.model_file)
        logits = load(manifest.preprocessing.prepare(images)).astype(np.float64)
        assert np.array_equal(answers.classes, logits.argmax(1))
        softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert np.allclose(answers.confidence, softmax.max(1), atol=1e-4)
        assert "answers.csv" not in manifest.files
    assert not (findings / "local-onnx-fp32/layers.json").exists()
    layers = json.loads((findings / "local-onnx-int8/layers.json").read_text())["layers"]
    errors = [layer["relative_error"] for layer in layers]
    assert len(errors) > 2
    assert 0 < max(errors) < 0.3


def test_a_bundle_says_which_runtimes_load_it(
    bundles: Bundles, source: ExportSource, onnx_file: Path, tmp_path: Path
) -> None:
    assert bundles["onnx-int8"][1].runtime == RuntimeRange("onnxruntime", "1.17")
    assert bundles["onnx-int8"][1].opset == 20
    vino = bundles["openvino-fp32"][1]
    assert (vino.runtime.name, vino.opset) == ("openvino", None)
    assert vino.runtime.allows(openvino.__version__)
    asked = RuntimeRange("onnxruntime", "1.20", "1.99")
    request = BundleRequest("local", "onnx", "fp32", runtime=asked)
    (manifest,) = make_bundles(source, [request], tmp_path)
    assert manifest.runtime == asked


def test_a_teachers_bundle_says_so_in_its_name() -> None:
    request = BundleRequest("rpi", "onnx", "int8")
    assert bundle_name("student", request) == "rpi-onnx-int8"
    assert bundle_name("teacher", request) == "rpi-teacher-onnx-int8"


def test_a_model_that_disagrees_leaves_no_bundle_and_keeps_the_earlier_one(
    source: ExportSource, onnx_file: Path, tmp_path: Path
) -> None:
    other = copy.deepcopy(source.model)
    with torch.no_grad():
        other.head.bias[0] += 0.05
    perturbed = dataclasses.replace(source, model=other)
    wanted = BundleRequest("local", "onnx", "fp32", SCHEME)
    folder = tmp_path / "local-onnx-fp32"
    with pytest.raises(ExportError, match="local-onnx-fp32: fp32 logits differ"):
        make_bundle(perturbed, onnx_file, wanted, folder)
    assert names(tmp_path) == ["failed"]

    manifest = make_bundle(source, onnx_file, wanted, folder)
    assert names(tmp_path) == ["local-onnx-fp32"]  # what failed before is no evidence any more
    with pytest.raises(ExportError, match="fp32 logits differ"):
        make_bundle(perturbed, onnx_file, wanted, folder)
    assert names(tmp_path) == ["failed", "local-onnx-fp32"]
    assert open_bundle(folder).manifest == manifest


@pytest.mark.parametrize(
    ("export_format", "embed", "files"),
    [
        ("onnx", False, ["model.onnx"]),
        ("onnx", True, ["model.onnx"]),
        ("openvino", False, ["model.bin", "model.xml"]),
    ],
)
def test_a_failed_parity_keeps_the_model_and_says_where(
    *,
    export_format: str,
    embed: bool,
    files: list[str],
    source: ExportSource,
    onnx_file: Path,
    tmp_path: Path,
) -> None:
    """The ONNX file is spoilt behind the exporter's back, in the second convolution."""
    spoilt = onnx.load(onnx_file)
    second = [node for node in spoilt.graph.node if node.op_type == "Conv"][1]
    weights = next(entry for entry in spoilt.graph.initializer if entry.name == second.input[1])
    weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), weights.name))
    onnx.save(spoilt, tmp_path / "spoilt.onnx")
    with pytest.raises(ExportError) as caught:
        make_bundle(
            source,
            tmp_path / "spoilt.onnx",
            BundleRequest(
                "local", export_format, "fp32", SCHEME, embedding="normalise" if embed else "none"
            ),
            tmp_path / "b" / "local-x",
        )
    kept = tmp_path / "b" / "failed" / "local-x"
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("local-x: fp32 logits differ")
    assert message.endswith(f"what was made is kept in {kept}")
    assert names(kept) == sorted([*files, "parity.json", "probe.npz"])
    assert names(tmp_path / "b") == ["failed"]
    told = json.loads((kept / "parity.json").read_text())
    assert told["parity"]["relative_error"] > told["tolerance"]["relative_error"] == 1e-4
    assert told["parity"]["n"] == 20
    assert told["bundle"] == "local-x"
    assert told["layers"]["line"] in message
    with np.load(kept / "probe.npz") as probe:
        model = FORMATS.get(export_format)().load(kept / files[-1])
        prepared = probe["images"] if embed else source.preprocessing.apply(probe["images"])
        apart = np.abs(model(prepared) - probe["logits"]).max()
    assert apart == pytest.approx(told["parity"]["max_abs_error"], rel=1e-3)


def test_a_failure_that_cannot_be_explained_still_is_told(
    source: ExportSource, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a runtime of another mind")

    monkeypatch.setattr("export.checking.layers.first_divergence", fails)
    wrong = dataclasses.replace(source, model=copy.deepcopy(source.model))
    assert isinstance(wrong.model, torch.nn.Module)
    with torch.no_grad():
        next(wrong.model.parameters()).mul_(-1)
    with pytest.raises(ExportError, match="they part could not be found out; what was made is"):
        make_bundle(
            wrong,
            onnx_file,
            BundleRequest("local", "onnx", "fp32", SCHEME),
            tmp_path / "local-x",
        )


def test_an_int8_model_that_names_other_classes_is_refused(
    source: ExportSource, onnx_file: Path, tmp_path: Path
) -> None:
    other = copy.deepcopy(source.model)
    with torch.no_grad():
        other.head.weight.neg_()
    with pytest.raises(ExportError, match="probe images, at least 80% are needed"):
        make_bundle(
            dataclasses.replace(source, model=other),
            onnx_file,
            BundleRequest("local", "onnx", "int8", SCHEME),
            tmp_path / "local-onnx-int8",
        )
    assert names(tmp_path) == ["failed"]


def test_unknown_formats_and_precisions_are_refused_before_anything_is_made(
    source: ExportSource, tmp_path: Path
) -> None:
    said: list[str] = []
    good = BundleRequest("local", "onnx", "fp32")
    with pytest.raises(UnknownNameError, match=r"unknown export format 'onx'.*onnx, openvino"):
        make_bundles(source, [good, BundleRequest("a", "onx", "fp32")], tmp_path, said.append)
    with pytest.raises(UnknownNameError, match=r"format 'onnx': .*'fp8'.*fp32, int8"):
        make_bundles(source, [good, BundleRequest("a", "onnx", "fp8")], tmp_path, said.append)
    with pytest.raises(ExportError, match="local-onnx-fp32: is asked for twice"):
        make_bundles(source, [good, good], tmp_path, said.append)
    old = dataclasses.replace(good, runtime=RuntimeRange("onnxruntime", "1.16"))
    with pytest.raises(ExportError, match=r"opset 20 needs onnxruntime 1\.17.*may have 1\.16"):
        make_bundles(source, [old], tmp_path, said.append)
    without = dataclasses.replace(source, calibration=source.calibration[:0])
    with pytest.raises(ExportError, match="int8 needs calibration images"):
        make_bundles(without, [good, BundleRequest("a", "onnx", "int8")], tmp_path, said.append)
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_fp32_needs_neither_calibration_nor_evaluation_images(
    source: ExportSource, onnx_file: Path, tmp_path: Path
) -> None:
    bare = dataclasses.replace(
        source, calibration=np.empty((0,), np.uint8), evaluation=None, role="teacher"
    )
    manifest = make_bundle(
        bare,
        onnx_file,
        BundleRequest("local", "openvino", "fp32", SCHEME),
        tmp_path / "b",
    )
    assert manifest.accuracy == {}
    assert manifest.role == "teacher"
    assert "quantization" not in manifest.format_facts


def test_images_without_labels_give_an_agreement_and_no_accuracy(
    source: ExportSource, tmp_path: Path
) -> None:
    assert source.evaluation is not None
    images, _ = source.evaluation
    unlabelled = dataclasses.replace(source, evaluation=None, unlabelled=images)
    requests = [BundleRequest("local", "openvino", kind, SCHEME) for kind in ("fp32", "int8")]
    full, quantised = make_bundles(unlabelled, requests, tmp_path)
    assert full.accuracy == quantised.accuracy == {}
    assert "unlabelled" not in full.parity
    prepared = source.preprocessing.apply(images)
    answers = [
        FORMATS.get("openvino")().load(tmp_path / made.name / made.model_file)(prepared).argmax(1)
        for made in (full, quantised)
    ]
    same = int((answers[0] == answers[1]).sum())
    low, high = wilson_interval(same, 150)
    agreement = {"top1_agreement": same / 150, "n": 150, "low": low, "high": high}
    assert quantised.parity["unlabelled"] == agreement
    card = (tmp_path / quantised.name / "README.md").read_text()
    assert f"{same / 150:.2%} of 150 images without" in card
    assert "Accuracy was not measured" in card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "b"]}, "2 classes"),
        ({"probe_images": np.empty((0, 32, 32, 3), np.uint8)}, "no images"),
        ({"probe_images": np.zeros((4, 28, 28, 3), np.uint8)}, "must be uint8"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_in_one_line(
    change: dict[str, object], message: str, source: ExportSource, onnx_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        make_bundle(
            dataclasses.replace(source, **change),
            onnx_file,
            BundleRequest("local", "onnx", "fp32", SCHEME),
            tmp_path / "b",
        )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_numbers_are_refused(
    source: ExportSource, onnx_file: Path, tmp_path: Path
) -> None:
    broken: nn.Module = copy.deepcopy(source.model)
    with torch.no_grad():
        broken.head.bias.fill_(torch.nan)
    with pytest.raises(ExportError, match="original gave logits that are not finite"):
        make_bundle(
            dataclasses.replace(source, model=broken),
            onnx_file,
            BundleRequest("local", "onnx", "fp32", SCHEME),
            tmp_path / "b",
        )


def test_a_format_from_outside_is_bundled_without_a_change_here(
    source: ExportSource, onnx_file: Path, tmp_path: Path
) -> None:
    class Numpy(ExportFormat):
        """The linear head's bias for every image: a format nobody wants, with its own precision."""

        name = "numpy"
        precisions = ("bf16",)

        def write(self, source, precision, folder, calibration, scheme) -> Written:  # type: ignore[no-untyped-def]
            assert len(calibration) == 0
            (folder / "model.npy").write_bytes(b"ours")
            return Written("model.npy", "in", "out", {"fact": 1})

        def load(self, model_file: Path) -> Predictor:
            assert model_file.read_bytes() == b"ours"
            return torch_predictor(source.model)

    FORMATS.register("numpy")(Numpy)
    try:
        (manifest,) = make_bundles(source, [BundleRequest("mcu", "numpy", "bf16")], tmp_path)
    finally:
        del FORMATS._entries["numpy"]
    assert open_bundle(tmp_path / "mcu-numpy-bf16").manifest == manifest
    assert manifest.format_facts["fact"] == 1
