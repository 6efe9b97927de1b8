"""A last stage that trains with 8-bit numbers: in a recipe, in a run, and in its bundles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from export.bundling import make_bundles
from export.requests import BundleRequest, ExportSource
from foundation.errors import RecipeError
from foundation.files import read_json
from pipeline.data.facts import PROBE, TEST, read_facts, read_images
from pipeline.exporting.learnt_integers import integer_student, learnt_integers
from pipeline.exporting.learnt_stage import integer_stage
from pipeline.preflight.names import check_names
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.study.arms import all_arms
from pipeline.training.networks import trained_student
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import distil, teach
from smskd.checkpoints.files import load_tensors
from smskd.evaluation import evaluate
from smskd.listening import Listener
from smskd.training.stage_files import METRICS, RANGES, WEIGHTS

QUICK = {
    "data.image_size": 16,
    "data.batch_size": 64,
    "teacher.model": "resnet8",
    "teacher.training.epochs": 2,
    "engine.accelerator": "cpu",
}
ROAD = {**QUICK, "stages": [{"methods": "kd", "epochs": 3}, {"methods": "quant", "epochs": 1}]}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def walk(folder: Path) -> tuple[RunFolder, TrainingData]:
    file = load_recipe(None, ROAD)
    run, data = start_run(folder, file.recipe), TrainingData(file)
    with run.locked():
        prepare(run, data)
        teach(run, data, Listener())
        distil(run, data, Listener())
    return run, data


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, TrainingData]:
    return walk(tmp_path_factory.mktemp("runs") / "run")


def stages_of(*stages: dict[str, Any]) -> dict[str, Any]:
    return {**QUICK, "stages": list(stages)}


def test_quant_is_short_for_a_gentle_stage_of_kd_with_8_bit_numbers() -> None:
    first, last = load_recipe(
        None, stages_of({"methods": "kd"}, {"methods": "quant"})
    ).recipe.stages
    assert (last.name, last.quantize) == ("kd+int8", "int8")
    assert last.lr < first.lr / 5
    assert last.epochs < first.epochs
    assert first.quantize == "none"


def test_what_is_said_of_such_a_stage_is_kept() -> None:
    said = {"methods": ["dkd"], "quantize": "int8", "lr": 0.02}
    last = load_recipe(None, stages_of({"methods": "kd"}, said)).recipe.stages[-1]
    assert (last.name, last.lr) == ("dkd+int8", 0.02)


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        (({"methods": "quant"}, {"methods": "kd"}), "only the last stage can quantise"),
        (({"methods": "quant"},), "it is the only stage; put another before it"),
        (({"methods": "kd"}, {"methods": "quant", "prune": 0.5}), "cannot begin with pruning"),
        (({"methods": "kd"}, {"methods": "kd", "quantize": "int9"}), "quantize"),
        (
            ({"methods": "kd"}, {"methods": "quant", "reference_feature_weight": 1.0}),
            "hears logits alone",
        ),
    ],
)
def test_an_impossible_sequence_is_told_of_in_one_line(
    stages: tuple[dict[str, Any], ...], complaint: str
) -> None:
    with pytest.raises(RecipeError, match=complaint) as error:
        load_recipe(None, stages_of(*stages))
    assert "\n" not in str(error.value)


def test_a_method_that_needs_features_is_told_of_with_its_place() -> None:
    file = load_recipe(None, stages_of({"methods": "kd"}, {"methods": "at", "quantize": "int8"}))
    with pytest.raises(RecipeError, match=r"stages\[1\].methods: method 'at' needs features"):
        check_names(file)


def test_a_study_compares_students_in_float() -> None:
    file = load_recipe(None, stages_of({"methods": "kd"}, {"methods": "quant"}))
    with pytest.raises(RecipeError, match=r"stages\[1\].quantize: the arms of a study"):
        all_arms(file)


def test_the_student_of_the_run_is_the_one_before_in_float(
    road: tuple[RunFolder, TrainingData],
) -> None:
    run, _ = road
    student = load_tensors(run.student)[0]
    before, after = (load_tensors(run.stages / name / WEIGHTS)[0] for name in ("1-kd", "2-kd+int8"))
    assert all(torch.equal(student[name], before[name]) for name in student)
    assert not torch.equal(student["fc.weight"], after["fc.weight"])
    products = run.record()["steps"]["distill"]["products"]
    assert any(name.endswith(RANGES) for name in products)


def test_the_integer_student_is_as_good_as_the_stage_said(
    road: tuple[RunFolder, TrainingData],
) -> None:
    run, data = road
    stage = integer_stage(run)
    assert stage is not None
    found = evaluate(integer_student(run, stage), data.evaluation(data.splits.validation))
    said = read_json(stage / METRICS)["last"]
    assert found["top1"] == said["val_top1"] > 0.5


def test_a_run_without_such_a_stage_has_no_integer_student(tmp_path: Path) -> None:
    file = load_recipe(None, stages_of({"methods": "kd"}))
    assert learnt_integers(start_run(tmp_path / "run", file.recipe)) is None


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_int8_bundles_classify_as_the_integer_student_does(
    road: tuple[RunFolder, TrainingData], tmp_path: Path, name: str
) -> None:
    run, data = road
    stage, facts = integer_stage(run), read_facts(run.data)
    assert stage is not None
    student = integer_student(run, stage)
    test = read_images(run.data / facts.images_for("student", TEST))
    source = ExportSource(
        model=trained_student(run),
        role="student",
        preprocessing=facts.preprocessing,
        classes=facts.classes,
        calibration=test.pixels[:0],
        probe_images=read_images(run.data / facts.images_for("student", PROBE)).pixels,
        evaluation=(test.pixels, test.labels),
        learnt=learnt_integers(run),
    )
    (bundle,) = make_bundles(source, [BundleRequest("local", name, "int8")], tmp_path)
    expected = evaluate(student, data.evaluation(data.splits.test))["top1"]
    assert bundle.accuracy["top1"] == pytest.approx(expected, abs=2 / len(test.labels))
    assert bundle.origin["stage"] == "2-kd+int8"
    assert bundle.parity["top1_agreement"] > 0.9
    assert bundle.parity["relative_error"] < 0.05
