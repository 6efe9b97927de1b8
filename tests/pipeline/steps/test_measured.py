"""Bench, gate and report as steps: what they make of a run folder that has changed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from foundation.errors import CorruptFileError, MissingFileError, UnknownNameError
from pipeline.recipe import BenchRecipe
from pipeline.runs import RunFolder
from pipeline.steps.bench import bench
from pipeline.steps.gate import gate, read_measurements
from pipeline.steps.report import report


def silent(_bundle: str, _facts: dict) -> None:
    pass


def test_what_was_measured_is_not_measured_again(own: RunFolder) -> None:
    before = {path: path.stat().st_mtime_ns for path in own.measurement_paths()}
    paths = bench(own, own.recipe().bench, silent)
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_another_way_of_measuring_is_measured(own: RunFolder) -> None:
    (before,) = (m for m in read_measurements(own) if m.bundle.name == "local-onnx-int8")
    heard: list[str] = []
    asked = BenchRecipe(threads=2, queries=5, max_seconds=0.2)
    (path,) = bench(own, asked, lambda name, _: heard.append(name), ["local-onnx-int8"])
    after = json.loads(path.read_text())
    assert (before.runtime.threads, after["runtime"]["threads"]) == (1, 2)
    assert after["latency_ms"]["n"] == 5
    assert set(heard) == {"local-onnx-int8"}


def test_a_bundle_that_was_spoilt_is_refused_even_if_it_was_measured(
    own: RunFolder, flip_a_byte: Callable[[Path], None]
) -> None:
    flip_a_byte(own.bundles / "local-onnx-int8/model.onnx")
    with pytest.raises(CorruptFileError, match=r"local-onnx-int8/model\.onnx"):
        bench(own, own.recipe().bench, silent)


def test_an_unknown_bundle_is_told_with_the_nearest(own: RunFolder) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'local-onnx-int8'"):
        bench(own, own.recipe().bench, silent, ["local-onnx-int"])


def test_the_verdict_stays_in_the_run_folder(own: RunFolder) -> None:
    verdict = gate(own, own.recipe().gate)
    assert json.loads(own.verdict_path.read_text()) == verdict.as_dict()


def test_figures_of_an_earlier_export_do_not_pass_the_gate(own: RunFolder) -> None:
    manifest = own.bundles / "local-onnx-int8/bundle.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "origin": {"new": 1}}))
    with pytest.raises(MissingFileError, match=r"local-onnx-int8: exported anew.*compress bench"):
        gate(own, own.recipe().gate)


@pytest.mark.parametrize("content", ["{}", "[]", "{"])
def test_a_measurement_that_is_none_is_refused_by_name(own: RunFolder, content: str) -> None:
    own.measurement_paths()[0].write_text(content)
    for step in (lambda: gate(own, own.recipe().gate), lambda: report(own)):
        with pytest.raises(CorruptFileError, match=own.measurement_paths()[0].name):
            step()


def test_without_a_student_there_is_nothing_to_report(own: RunFolder) -> None:
    own.note(networks={})
    with pytest.raises(MissingFileError, match="compress distill"):
        report(own)
