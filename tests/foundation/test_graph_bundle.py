"""The contract of graphs that are no classifiers."""

import json
from pathlib import Path

import numpy as np
import pytest

from foundation.bundle import (
    GraphManifest,
    RuntimeRange,
    TensorSpec,
    checksums,
    open_any_bundle,
    open_bundle,
    write_manifest,
)
from foundation.errors import CorruptFileError, UsageError
from foundation.graph_bundle import probe_arrays
from foundation.packing import pack, unpack

FEEDS = [{"image": np.full((1, 2), value, np.float32), "rate": np.array(7)} for value in (1, 2)]
OUTPUTS = {"boxes": [np.zeros((n, 4), np.float32) for n in (0, 3)]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"model")
    np.savez(folder / "probe.npz", **probe_arrays(FEEDS, OUTPUTS))
    manifest = GraphManifest(
        name="local-onnx-fp32",
        role="student",
        target="local",
        format="onnx",
        precision="fp32",
        model_file="model.onnx",
        inputs=[TensorSpec("image", "float32", "", [1, 2]), TensorSpec("rate", "int64", "", [])],
        outputs=[TensorSpec("boxes", "float32", "", ["found", 4])],
        files=checksums(folder),
        opset=17,
        runtime=RuntimeRange("onnxruntime", "1.17"),
    )
    write_manifest(folder, manifest)
    return folder


def changed(folder: Path, **values: object) -> Path:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def test_its_probe_has_an_array_an_input_and_outputs_of_any_size(folder: Path) -> None:
    feeds, outputs = open_any_bundle(folder).probe()  # type: ignore[attr-defined]
    assert [feed["image"].tolist() for feed in feeds] == [[[1, 1]], [[2, 2]]]
    assert isinstance(feeds[0]["rate"], np.ndarray)
    assert feeds[0]["rate"].shape == ()
    assert [boxes.shape for boxes in outputs["boxes"]] == [(0, 4), (3, 4)]


def test_who_wants_a_classifier_is_told_in_a_line(folder: Path) -> None:
    with pytest.raises(UsageError, match="is the bundle of a graph that is no classifier"):
        open_bundle(folder)


def test_it_is_packed_as_any_bundle(folder: Path, tmp_path: Path) -> None:
    packed = pack(folder, tmp_path / "one.bundle")
    assert unpack(packed, tmp_path / "again").manifest == open_any_bundle(folder).manifest


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("inputs", [], "there is no input"),
        (
            "outputs",
            [{"name": "x", "dtype": "text", "layout": "", "shape": []}],
            "which no runtime",
        ),
        (
            "inputs",
            [{"name": "x", "dtype": "int8", "layout": "", "shape": ["n"]}],
            "must be a numb",
        ),
        ("task", "poem", "task 'poem' is none"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(folder: Path, key, value, message) -> None:
    with pytest.raises(CorruptFileError, match=message):
        open_any_bundle(changed(folder, **{key: value}))


def test_a_probe_that_does_not_fit_the_manifest_is_refused(folder: Path) -> None:
    wrong = [{"name": "boxes", "dtype": "float32", "layout": "", "shape": ["found", 5]}]
    bundle = open_any_bundle(changed(folder, outputs=wrong))
    with pytest.raises(CorruptFileError, match=r"'boxes' is float32 \[0, 4\], not float32"):
        bundle.probe()  # type: ignore[attr-defined]
