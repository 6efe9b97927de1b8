from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export.bundling import make_bundles
from export.checking.answers import logits_of
from export.formats import FORMATS
from export.learnt_quantization import LearntQuantization
from export.requests import BundleRequest, ExportSource
from export.searching.trials import TrialResult
from foundation.bundle import Preprocessing, open_bundle
from foundation.errors import ExportError
from pipeline.data.images import ArrayImages
from pipeline.exporting.precision_search import FormatTrials, Limits

SHAPE = Preprocessing(8, 8, 1, [0.5], [0.25])
CLASSES = ["dark", "light", "even"]
LIMITS = Limits(max_drop=1.0, max_trials=8)


def images(count: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 100, (count, 8, 8, 1), dtype=np.uint8)
    return noise + (60 * (np.arange(count) % 3)).astype(np.uint8)[:, None, None, None]


def source_of(model: nn.Module) -> ExportSource:
    return ExportSource(
        model.eval(), "student", SHAPE, CLASSES, calibration=images(24, 1),
        probe_images=images(12, 2), evaluation=None,
    )  # fmt: skip


def network(large: float = 1.0) -> nn.Module:
    """Two convolutions and a head; the first channel between them is made that much larger."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip
    first, second = model[0], model[2]
    with torch.no_grad():
        first.weight[0] *= large
        first.bias[0] *= large
        second.weight[:, 0] /= large
    return model


def validation(model: nn.Module) -> ArrayImages:
    """Images whose label is what the network makes of them, so that it is always right."""
    pixels = images(70, 3)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(SHAPE.apply(pixels)))
    return ArrayImages(pixels, logits.argmax(1).numpy())


def trials_of(
    model: nn.Module, folder: Path, precisions: Sequence[str] = ("fp32", "int8"), **request: object
) -> FormatTrials:
    wanted = BundleRequest("local", "onnx", "int8", **request)
    judged_on = validation(model)
    source = replace(source_of(model), validation=(judged_on.pixels, judged_on.labels))
    return FormatTrials(source, wanted, precisions, folder)


Told = list[tuple[str, TrialResult, int]]


def searched(trials: FormatTrials, limits: Limits = LIMITS, context: str = "a") -> tuple:
    told: Told = []
    result = trials.search(limits, [context], lambda *of: told.append(of))
    return result, told


def test_a_search_ends_with_finished_trials_and_nothing_else(tmp_path: Path) -> None:
    result, told = searched(trials_of(network(), tmp_path))
    assert [one.candidate.precision for one in result.trials] == ["fp32", "int8"]
    assert [(name, left) for name, _, left in told] == [("onnx", 7), ("onnx", 6)]
    assert result.trials[0].accuracy == 1.0
    assert result.trials[1].trial.facts["model_bytes"] > 0
    assert len(list(tmp_path.iterdir())) == 2
    assert all(path.suffix == ".json" for path in tmp_path.iterdir())


def test_precisions_that_are_not_asked_for_are_not_tried(tmp_path: Path) -> None:
    result, _ = searched(trials_of(network(), tmp_path, ("fp32", "fp16")))
    assert [one.candidate.precision for one in result.trials] == ["fp32", "fp16"]


def test_finished_trials_are_taken_up_unless_something_they_depend_on_changed(
    tmp_path: Path,
) -> None:
    model = network()
    first, _ = searched(trials_of(model, tmp_path))
    again, told = searched(trials_of(model, tmp_path), replace(LIMITS, max_drop=3.0))
    assert all(one.resumed for _, one, _ in told)
    assert [one.accuracy for one in again.trials] == [one.accuracy for one in first.trials]
    for other in (
        searched(trials_of(model, tmp_path), context="b"),
        searched(trials_of(model, tmp_path, embedding="normalise")),
    ):
        assert not any(one.resumed for one in other[0].trials)


def test_what_8_bits_spoil_is_kept_as_evidence_and_its_operators_are_found(tmp_path: Path) -> None:
    model = network(large=1e4)
    result, _ = searched(trials_of(model, tmp_path))
    refused = [one for one in result.trials if one.trial is None]
    assert refused
    for one in refused:
        kept = Path(one.error.partition("what was made is kept in ")[2])
        assert kept.parent == tmp_path / "failed"
        assert json.loads((kept / "parity.json").read_text())["precision"] == "int8"
    names = {one.error.partition("what was made is kept in ")[2] for one in refused}
    assert len(names) == len(refused)
    assert result.met
    assert result.best.candidate.precision == "int8"
    assert 1 <= len(result.best.candidate.scheme.excluded) <= 2
    assert not (tmp_path / "scratch").exists()


def test_integers_that_were_learnt_are_not_calibrated_in_other_ways(tmp_path: Path) -> None:
    trials = trials_of(network(), tmp_path)
    assert len(trials._schemes()) > 1
    learnt = LearntQuantization(lambda kind: network())
    trials.source = replace(trials.source, learnt=learnt)
    assert trials._schemes() == [trials.request.scheme]


def test_without_calibration_images_the_best_there_is_comes_out_with_the_reason(
    tmp_path: Path,
) -> None:
    model = network()
    trials = trials_of(model, tmp_path, ("fp32", "fp16", "int8"))
    trials.source = replace(trials.source, calibration=images(0, 1))
    result, told = searched(trials)
    assert result.best.candidate.precision == "fp16"
    assert "needs calibration images" in result.advice
    assert {one.candidate.precision for _, one, _ in told if one.trial} == {"fp32", "fp16"}


def test_a_network_that_cannot_be_exported_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if float(images.sum()) > 0:
                return images.flatten(1)[:, :3]
            return -images.flatten(1)[:, :3]

    with pytest.raises(ExportError) as caught:
        searched(trials_of(Branching(), tmp_path / "trials"))
    assert "\n" not in str(caught.value)
    left = [path for path in (tmp_path / "trials").rglob("*") if path.suffix != ".json"]
    assert left == []


@pytest.mark.parametrize("embed", [False, True])
def test_a_bundles_logits_are_those_of_the_original_for_any_number_of_images(
    embed: bool, tmp_path: Path
) -> None:
    model = network()
    request = BundleRequest("local", "onnx", "fp32", embedding="normalise" if embed else "none")
    make_bundles(source_of(model), [request], tmp_path)
    pixels = images(70, 3)
    with torch.no_grad():
        expected = model(torch.from_numpy(SHAPE.apply(pixels))).numpy()
    bundle = open_bundle(tmp_path / "local-onnx-fp32")
    predict = FORMATS.get("onnx")().load(bundle.model_path)
    for count in (1, 64, 65):
        logits = logits_of(predict, pixels[:count], bundle.manifest.preprocessing)
        np.testing.assert_allclose(logits, expected[:count], atol=1e-5)
