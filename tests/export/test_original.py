"""Tests of what is found out of a source once, however many bundles are made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import export.bundling
import export.original
from export.bundling import make_judged_bundle
from export.formats.onnx import OnnxFormat
from export.original import Original
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource

INT8 = BundleRequest("local", "onnx", "int8", QuantizationScheme(reduce_range=True))
FP32 = replace(INT8, precision="fp32")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often what takes long was done."""
    done: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def called(*args: object, **kwargs: object) -> object:
            done[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, called)

    counted(OnnxFormat, "write")
    counted(export.original, "predictor_of")
    counted(export.original, "answers_of")
    counted(export.original, "export_fp32_onnx")
    return done


def test_a_model_that_was_tried_is_neither_quantised_nor_asked_again_when_it_ships(
    source: ExportSource, tmp_path: Path, work: Counter[str]
) -> None:
    source = replace(source, validation=source.evaluation)
    original = Original(source, tmp_path / "scratch")
    onnx_file = original.onnx_file(20)
    _, tried = make_judged_bundle(
        original, onnx_file, INT8, tmp_path / "trial", parts=("validation",)
    )
    assert set(tried) == {"validation"}
    assert work == {
        "write": 1, "predictor_of": 1, "answers_of": 1, "export_fp32_onnx": 1,
    }  # fmt: skip

    assert original.onnx_file(20) == onnx_file
    shipped, right = make_judged_bundle(original, onnx_file, INT8, tmp_path / "shipped")
    np.testing.assert_array_equal(right["validation"], tried["validation"])
    # The test images are new to it and to FP32, which it is held against.
    assert work == {
        "write": 1, "predictor_of": 1, "answers_of": 3, "export_fp32_onnx": 1,
    }  # fmt: skip
    alone = export.bundling.make_bundle(source, onnx_file, INT8, tmp_path / "alone")
    assert (shipped.files["model.onnx"], shipped.accuracy) == (
        alone.files["model.onnx"],
        alone.accuracy,
    )


def test_the_fp32_bundles_answers_are_those_that_lower_precision_is_held_against(
    source: ExportSource, tmp_path: Path, work: Counter[str]
) -> None:
    original = Original(source, tmp_path / "scratch")
    onnx_file = original.onnx_file(20)
    _, right = make_judged_bundle(original, onnx_file, FP32, tmp_path / "fp32")
    before = original.right("test", original.float_classes("test", onnx_file))
    np.testing.assert_array_equal(before, right["test"])
    assert work["answers_of"] == 1


def test_another_model_is_asked_itself(
    source: ExportSource, tmp_path: Path, work: Counter[str]
) -> None:
    original = Original(source, tmp_path / "scratch")
    onnx_file = original.onnx_file(20)
    spoilt = replace(INT8, scheme=replace(INT8.scheme, calibration="percentile"))
    first, _ = make_judged_bundle(original, onnx_file, INT8, tmp_path / "a")
    second, _ = make_judged_bundle(original, onnx_file, spoilt, tmp_path / "b")
    assert first.files["model.onnx"] != second.files["model.onnx"]
    assert work["answers_of"] == 3


def test_without_a_folder_nothing_can_be_exported_into_it(source: ExportSource) -> None:
    with pytest.raises(ValueError, match="a scratch folder must be given"):
        Original(source).onnx_file(20)
