from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from export.bundling import make_bundle, make_bundles
from export.checking.accuracy_lost import check_drop
from export.checking.answers import ALONE, logits_in_every_batch
from export.formats import FORMATS, ExportFormat, Predictor, Written
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource
from foundation.errors import ExportError


def answers(right: int, of: int) -> np.ndarray:
    return np.arange(of) < right


def test_a_loss_that_is_surely_beyond_what_is_tolerated_is_refused() -> None:
    with pytest.raises(ExportError, match=r"b: names 25.00% of 40 test images rightly, FP32 100"):
        check_drop(answers(40, 40), answers(10, 40), 5.0, "b")


def test_a_loss_that_few_images_cannot_tell_from_none_is_told_and_kept() -> None:
    drop = check_drop(answers(10, 10), answers(9, 10), 5.0, "b")
    assert drop["points"] == pytest.approx(10.0)
    assert drop["low"] < 5.0 < drop["high"]


def test_the_limit_is_held_on_the_same_images() -> None:
    before = answers(900, 1000)
    after = np.roll(before, 60)  # as accurate on average, of other images
    assert check_drop(before, after, 1.0, "b")["points"] == 0.0
    with pytest.raises(ExportError, match="tolerated are 1 "):
        check_drop(before, answers(850, 1000), 1.0, "b")


class Forgetful(ExportFormat):
    """INT8 that answers rightly but for test images, as a graph ruined by its calibration would
    on what the probe does not show; and, wide awake, images in a batch wrongly."""

    name = "forgetful"
    precisions = ("int8",)
    calibrated = ()
    spoils_batches = False

    def write(self, source: Path, precision: str, folder: Path, *_: object) -> Written:
        return FORMATS.get("onnx")().write(
            source, "fp32", folder, np.empty(0, np.float32), QuantizationScheme()
        )

    def load(self, model_file: Path) -> Predictor:
        run = FORMATS.get("onnx")().load(model_file)

        def predict(batch: np.ndarray) -> np.ndarray:
            logits = run(batch)
            if (self.spoils_batches and len(batch) > 2) or len(batch) > 20:
                logits[len(batch) // 4 :] = logits[0]
            return logits

        return predict


@pytest.fixture
def forgetful() -> Iterator[type[Forgetful]]:
    FORMATS.register("forgetful")(Forgetful)
    yield Forgetful
    del FORMATS._entries["forgetful"]


def test_a_bundle_that_loses_its_accuracy_on_the_test_images_is_kept_as_failed(
    source: ExportSource, onnx_file: Path, tmp_path: Path, forgetful: type[Forgetful]
) -> None:
    folder = tmp_path / "local-forgetful-int8"
    wanted = BundleRequest("local", "forgetful", "int8")
    with pytest.raises(ExportError, match=r"points lost .* tolerated are 5 .* kept in"):
        make_bundle(source, onnx_file, wanted, folder)
    told = json.loads((tmp_path / "failed" / folder.name / "parity.json").read_text())
    assert told["top1"]["test"] < 0.6
    assert told["parity"]["top1_agreement"] == 1.0
    allowed = make_bundle(
        source,
        onnx_file,
        dataclasses.replace(wanted, tolerated_drop=100.0),
        folder,
    )
    assert allowed.accuracy["drop"]["points"] > 40
    assert not (tmp_path / "failed").exists()


def test_a_bundle_that_answers_otherwise_in_a_batch_is_refused(
    source: ExportSource,
    tmp_path: Path,
    forgetful: type[Forgetful],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forgetful, "spoils_batches", True)
    left_out = []
    requests = [BundleRequest("a", "onnx", "fp32"), BundleRequest("a", "forgetful", "int8")]
    made = make_bundles(
        dataclasses.replace(source, evaluation=None),
        requests,
        tmp_path,
        on_failed=lambda request, error: left_out.append((request.format, str(error))),
    )
    assert [manifest.format for manifest in made] == ["onnx"]
    assert left_out[0][0] == "forgetful"
    assert "answers the same images otherwise together than one by one" in left_out[0][1]


def test_a_fixed_batch_is_asked_with_each_image_in_every_place(
    source: ExportSource, onnx_file: Path
) -> None:
    shape, images = source.preprocessing, source.probe_images[:7]

    class Fixed(Forgetful):
        def load(self, model_file: Path) -> Predictor:
            run = FORMATS.get("onnx")().load(model_file)

            def predict(batch: np.ndarray) -> np.ndarray:
                assert len(batch) == 3
                logits = run(batch)
                logits[2] += 1.0  # the last place is wrong
                return logits

            return predict

    asked = logits_in_every_batch(Fixed(), onnx_file, images, shape, 3)
    assert len(asked) == 4
    right = FORMATS.get("onnx")().predict(onnx_file, shape.apply(images))
    np.testing.assert_allclose(asked.pop(ALONE), right, atol=1e-5)
    wrong = [np.flatnonzero(np.abs(a - right).max(1) > 0.5).tolist() for a in asked.values()]
    assert wrong == [[2, 5], [1, 4], [0, 3]]
