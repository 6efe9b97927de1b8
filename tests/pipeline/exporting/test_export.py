from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy_targets.targets import load_target
from foundation.errors import MissingFileError, UsageError
from pipeline.exporting.export import export, requests_for
from pipeline.recipe.sections.export import ExportRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import start_run


def asked(target: str, **settings: list[str]) -> list[tuple[str, str]]:
    requests = requests_for(load_target(target), ExportRecipe(**settings))
    return [(request.format, request.precision) for request in requests]


def test_unless_asked_otherwise_a_target_gets_all_it_takes() -> None:
    assert asked("rpi4") == [("onnx", "fp32"), ("onnx", "int8")]
    assert {each for each, _ in asked("local")} == {"onnx", "openvino"}


def test_a_format_is_made_only_in_precisions_that_it_has() -> None:
    target = replace(load_target("rpi5"), precisions=["fp32", "bf16"])
    requests = requests_for(target, ExportRecipe())
    found = [(request.format, request.precision) for request in requests]
    assert found == [("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]


def test_bf16_is_made_where_the_cpu_computes_in_it_and_somebody_asks() -> None:
    able = replace(load_target("rpi5"), features=["asimddp", "bf16"])
    found = requests_for(able, ExportRecipe(precisions=["bf16"]))
    assert [(request.format, request.precision) for request in found] == [("openvino", "bf16")]
    assert "bf16" not in {request.precision for request in requests_for(able, ExportRecipe())}
    with pytest.raises(UsageError, match="nothing that was asked for is among these"):
        requests_for(replace(able, features=["asimddp"]), ExportRecipe(precisions=["bf16"]))


def test_a_run_that_came_to_an_end_before_its_data_is_told_of(tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", Recipe())
    with pytest.raises(MissingFileError, match="has no data and no student yet; run `compress di"):
        export(run, ExportRecipe(), lambda _: None)


def test_what_is_asked_narrows_it_down() -> None:
    assert asked("local", formats=["onnx"], precisions=["int8"]) == [("onnx", "int8")]


def test_of_what_is_asked_only_what_the_target_takes_is_made() -> None:
    assert asked("rpi4", formats=["openvino", "onnx"], precisions=["fp16", "int8"]) == [
        ("onnx", "int8")
    ]


def test_when_nothing_is_left_the_target_says_what_it_takes() -> None:
    with pytest.raises(UsageError, match="target rpi4 takes onnx in fp32, int8"):
        asked("rpi4", formats=["openvino"])


def test_the_scheme_is_the_targets() -> None:
    asked_for = ExportRecipe(formats=["onnx"], precisions=["int8"])
    (request,) = requests_for(load_target("rpi"), asked_for)
    assert request.target == "rpi5"
    assert (request.scheme.activation_type, request.scheme.weight_type) == ("s8", "s8")
