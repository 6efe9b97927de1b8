from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from foundation.bundle import open_bundle
from pipeline.run_folder.folder import RunFolder

BOARD = """\
description = "a board"
arch = "aarch64"
cores = 2
memory_mb = 512
features = []
onnx_opset = 20
threads = 2
precisions = ["fp32", "int8"]

[[runtimes]]
name = "onnxruntime"
version = ">=1.20"

[quantization]
activation_type = "s8"
weight_type = "s8"
per_channel = true
reduce_range = false
calibration = "minmax"
"""


def activation_types(path: Path) -> set[int]:
    """Element types of the zero points of what is quantised while the model runs."""
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {
        constants[node.input[2]]
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[2] in constants
    }


def test_a_target_gets_its_own_bundles_in_its_own_scheme(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    before = {folder.name for folder in own.bundle_folders()}
    said = forked("export", "--target", "rpi", "--format", "onnx", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    made = {bundle["name"] for bundle in said.json()["bundles"]}
    assert made == {"rpi5-onnx-fp32", "rpi5-onnx-int8", "rpi5-teacher-onnx-fp32"}
    assert {folder.name for folder in own.bundle_folders()} == before | made
    manifest = open_bundle(own.bundles / "rpi5-onnx-int8").manifest
    assert manifest.target == "rpi5"
    assert "s8" in json.dumps(manifest.format_facts)
    int8, uint8 = onnx.TensorProto.INT8, onnx.TensorProto.UINT8
    assert activation_types(own.bundles / "rpi5-onnx-int8/model.onnx") == {int8}
    if "u8" in json.dumps(open_bundle(own.bundles / "local-onnx-int8").manifest.format_facts):
        assert activation_types(own.bundles / "local-onnx-int8/model.onnx") == {uint8}


@pytest.mark.slow
def test_one_bundle_for_a_profile_of_ones_own_without_the_teacher(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    before = {folder.name for folder in own.bundle_folders()}
    (tmp_path / "board.toml").write_text(BOARD)
    said = forked(
        "export", "runs/tiny", "--target", "board.toml", "--format", "onnx",
        "--precision", "fp32", "--no-teacher", cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "board-onnx-fp32" in said.out
    assert {folder.name for folder in own.bundle_folders()} - before == {"board-onnx-fp32"}
    said = forked("bench", "--bundle", "board-onnx-fp32", "--max-seconds", 0.2, cwd=tmp_path)
    assert said.code == 0, said.err
    assert (own.bench / "board-onnx-fp32@local.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("embedding", "shape"),
    [
        (["--embed-preprocessing"], [16, 16, 1]),
        (["--embed-preprocessing", "resize"], ["height", "width", 1]),
    ],
)
def test_a_bundle_that_prepares_images_itself_is_as_accurate_on_a_device(
    own: RunFolder, forked, tmp_path: Path, embedding: list[str], shape: list[int | str]
) -> None:
    plain = open_bundle(own.bundles / "local-onnx-fp32").manifest
    both = ["--format", "onnx", "--format", "openvino", "--precision", "fp32", "--no-teacher"]
    said = forked("export", *both, *embedding, cwd=tmp_path)
    assert said.code == 0, said.err
    names = ("local-onnx-fp32", "local-openvino-fp32")
    quick = ["--threads", 1, "--queries", 20, "--max-seconds", 0.2, "--json"]
    asked = [f"--bundle={name}" for name in names]
    measured = forked("bench", *asked, *quick, cwd=tmp_path)
    assert measured.code == 0, measured.err
    for name, one in zip(names, measured.json()["measurements"], strict=True):
        manifest = open_bundle(own.bundles / name).manifest
        assert (manifest.input.dtype, manifest.input.layout) == ("uint8", "NHWC")
        assert manifest.input.shape[1:] == shape
        assert manifest.accuracy["top1"] == plain.accuracy["top1"]
        assert one["accuracy"]["top1"] == plain.accuracy["top1"]
