from __future__ import annotations

import math

import numpy as np
import pytest

from deploy_targets.targets import load_target
from export.quantization import QuantizationScheme
from export.searching.search import SearchResult
from export.searching.trials import ModelVariant, Trial, TrialResult
from foundation.errors import UsageError
from pipeline.exporting.export import requests_for
from pipeline.exporting.ship import _best_by_precision, _by_format, _request_of
from pipeline.recipe.sections.export import AUTO, ExportRecipe

RIGHT = np.ones(10, bool)


def tried(precision: str, drop: float = 0.0, kept: int = 0, made: bool = True) -> TrialResult:
    scheme = QuantizationScheme(excluded=tuple(f"op{n}" for n in range(kept)))
    trial = Trial(RIGHT) if made else None
    return TrialResult(ModelVariant(precision, scheme), trial, drop if made else math.nan)


def found(*trials: TrialResult, limit: float = 1.0) -> SearchResult:
    return SearchResult(trials[0], limit, True, 0.0, "", list(trials))


def test_of_each_precision_the_best_trial_goes_on() -> None:
    whole, few, many = tried("int8", 4.0), tried("int8", 0.9, 2), tried("int8", 0.1, 4)
    full, half = tried("fp32"), tried("fp16", 0.1)
    assert _best_by_precision(found(full, half, whole, many, few)) == [full, half, few]


def test_where_none_meets_the_limit_the_most_accurate_goes_on() -> None:
    full, near, far = tried("fp32"), tried("int8", 1.5, 3), tried("int8", 5.0)
    assert _best_by_precision(found(full, far, near)) == [full, near]


def test_what_could_not_be_made_does_not_go_on() -> None:
    full = tried("fp32")
    assert _best_by_precision(found(full, tried("fp16", made=False))) == [full]


def test_a_trials_bundle_is_asked_for_with_the_scheme_that_it_was_tried_with() -> None:
    base = requests_for(load_target("rpi5"), ExportRecipe(formats=["onnx"]))[0]
    int8 = _request_of(base, tried("int8", 0.5, 2))
    assert (int8.precision, int8.scheme.excluded) == ("int8", ("op0", "op1"))
    full = _request_of(int8, tried("fp32"))
    assert (full.precision, full.target, full.opset) == ("fp32", base.target, base.opset)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (
            {"precisions": [AUTO]},
            {"onnx": ["fp32", "fp16", "int8"], "openvino": ["fp32", "fp16", "int8"]},
        ),
        ({"precisions": [AUTO], "formats": ["onnx"]}, {"onnx": ["fp32", "fp16", "int8"]}),
        ({"precisions": ["int8"], "max_drop": 1.0}, {"onnx": ["int8"], "openvino": ["int8"]}),
        ({"precisions": ["bf16"], "formats": ["openvino"]}, None),
    ],
)
def test_each_format_is_searched_in_what_it_the_target_and_the_user_have_in_common(
    asked: dict, expected: dict | None
) -> None:
    target = load_target("rpi5")
    if expected is None:
        with pytest.raises(UsageError, match="target rpi5 takes"):
            requests_for(target, ExportRecipe(**asked))
        return
    groups = _by_format(requests_for(target, ExportRecipe(**asked)))
    assert {group[0].format: [one.precision for one in group] for group in groups} == expected
