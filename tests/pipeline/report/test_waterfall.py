from __future__ import annotations

import re

import pytest

from deploy_targets.device.messages import ExecutedPrecision
from foundation.bundle import Manifest, Preprocessing, RuntimeRange, TensorSpec
from pipeline.report.bundles import Exported
from pipeline.report.tables import waterfall_table
from pipeline.report.waterfall import (
    WaterfallStep,
    bundle_steps,
    network_step,
    stage_steps,
    usual_split,
)
from pipeline.report.waterfall_figure import waterfall
from pipeline.shown.measurements import ran_in
from pipeline.shown.words import signed

TEACHER = network_step(
    "teacher",
    {"model": "big", "validation": {"top1": 0.95}, "test": {"top1": 0.94}},
    4000,
)


def metrics(index: int, name: str, last: float | None, **stage) -> dict:
    return {
        "index": index,
        "name": name,
        "stage": {"keep": "last", "quantize": "none", **stage},
        "last": {"epoch": 10, "val_top1": last},
        "best": {"epoch": 7, "val_top1": 0.99},
    }


def exported(format_name: str, precision: str, size: int = 100, **accuracy) -> Exported:
    return Exported(
        manifest=Manifest(
            name=f"local-{format_name}-{precision}",
            role="student",
            target="local",
            format=format_name,
            precision=precision,
            model_file="model.bin",
            input=TensorSpec("image", "float32", "NCHW", ["batch", 1, 2, 2]),
            output=TensorSpec("logits", "float32", "NC", ["batch", 2]),
            preprocessing=Preprocessing(2, 2, 1, [0.5], [0.5]),
            classes=["a", "b"],
            files={"model.bin": "0" * 64},
            opset=20,
            runtime=RuntimeRange(format_name, "1.0"),
            accuracy=accuracy,
        ),
        model_bytes=size,
        executed={},
    )


def validated(top1: float, test: float = 0.5) -> dict:
    return {"validation": {"top1": top1, "n": 10}, "top1": test, "n": 10, "split": "test"}


class TestStages:
    def test_each_is_compared_with_the_one_before_and_the_first_with_the_teacher(self) -> None:
        given = [(metrics(1, "kd", 0.90), 1000), (metrics(2, "at", 0.92), 500)]
        first, second = stage_steps(given, TEACHER, [])
        assert (first.name, second.name) == ("1 kd", "2 at")
        assert first.change == pytest.approx(-5.0)
        assert first.shrink == 4.0
        assert second.source is first
        assert second.change == pytest.approx(2.0)
        assert second.shrink == 2.0

    def test_the_epoch_that_was_handed_on_is_told(self) -> None:
        (best,) = stage_steps([(metrics(1, "kd", 0.90, keep="best"), None)], None, [])
        assert best.reached == pytest.approx(99.0)
        assert best.change is None
        assert best.shrink is None

    def test_without_validation_there_is_no_accuracy_and_no_change_after_it(self) -> None:
        given = [(metrics(1, "kd", None), 1), (metrics(2, "at", 0.9), 1)]
        first, second = stage_steps(given, TEACHER, [])
        assert first.reached is None
        assert second.change is None

    def test_pruning_and_training_in_int8_are_said(self) -> None:
        pruned = [
            {"before_stage": 2, "before": {"parameters": 2000}, "after": {"parameters": 1100}}
        ]
        given = [(metrics(1, "kd", 0.9), 1), (metrics(2, "kd+int8", 0.9, quantize="int8"), 1)]
        first, second = stage_steps(given, None, pruned)
        assert first.description == "10 epochs"
        assert "pruned from 2,000 to 1,100 parameters" in second.description
        assert "int8" in second.description

    def test_stages_of_before_there_was_quantising_are_read(self) -> None:
        old = metrics(1, "kd", 0.9)
        del old["stage"]["quantize"], old["stage"]["keep"]
        (step,) = stage_steps([(old, 1)], None, [])
        assert step.reached == pytest.approx(90.0)


class TestBundles:
    student = network_step(
        "student", {"model": "s", "validation": {"top1": 0.90}, "test": {"top1": 0.80}}, 400
    )

    def test_come_format_by_format_from_fp32_to_int8(self) -> None:
        names = [("openvino", "bf16"), ("onnx", "int8"), ("openvino", "fp32"), ("onnx", "fp16"),
                 ("openvino", "int8"), ("onnx", "fp32")]  # fmt: skip
        steps = bundle_steps([exported(*name) for name in names], self.student, {})
        assert [step.name for step in steps] == [
            "onnx fp32", "onnx fp16", "onnx int8", "openvino fp32", "openvino bf16",
            "openvino int8",
        ]  # fmt: skip
        assert [step.source.name for step in steps if step.source] == [
            "student", "onnx fp32", "onnx fp32", "student", "openvino fp32", "openvino fp32",
        ]  # fmt: skip

    def test_are_compared_in_accuracy_size_and_latency(self) -> None:
        given = [
            exported("onnx", "fp32", 400, **validated(0.9)),
            exported("onnx", "int8", 100, **validated(0.88)),
        ]
        latencies = {"local-onnx-fp32": 3.0, "local-onnx-int8": 1.0}
        full, int8 = bundle_steps(given, self.student, latencies)
        assert full.change == pytest.approx(0.0)
        assert full.speedup is None
        assert int8.change == pytest.approx(-2.0)
        assert (int8.shrink, int8.speedup) == (4.0, 3.0)

    def test_without_validation_are_compared_on_the_test_images(self) -> None:
        (step,) = bundle_steps(
            [exported("onnx", "fp32", top1=0.79, n=10, split="test")], self.student, {}
        )
        assert step.split == "test"
        assert step.before == pytest.approx(80.0)
        assert step.change == pytest.approx(-1.0)

    def test_that_nobody_evaluated_have_neither(self) -> None:
        (step,) = bundle_steps([exported("onnx", "fp32")], self.student, {})
        assert (step.split, step.reached, step.change) == (None, None, None)

    def test_without_fp32_of_the_format_come_from_the_student(self) -> None:
        (step,) = bundle_steps([exported("onnx", "int8", **validated(0.8))], self.student, {})
        assert step.source is self.student


def whole() -> list[WaterfallStep]:
    stages = stage_steps([(metrics(1, "kd+at", 0.9), 1000)], TEACHER, [])
    network = {"model": "s", "validation": {"top1": 0.9}, "test": {"top1": 0.8}}
    student = network_step("student", network, 1000, stages[-1])
    given = [
        exported("onnx", "fp32", 1000, **validated(0.9)),
        exported("onnx", "int8", 250, top1=0.777, n=10, split="test"),
    ]
    return [TEACHER, *stages, student, *bundle_steps(given, student, {"local-onnx-int8": 1.25})]


def svg_of(steps: list[WaterfallStep], shipped: str | None = None) -> str:
    plot = waterfall(steps, shipped)
    assert plot is not None
    return plot.svg("salt")


def test_the_figure_names_the_steps_their_levels_and_what_ships() -> None:
    svg = svg_of(whole(), "local-onnx-int8")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    for words in ("teacher", "95.0", "90.0", "77.7*", "ships", "1.25", "0.25", "p50, ms"):
        assert words in texts
    assert texts.count("ships") == 1


def test_the_figure_has_green_for_gains_and_red_for_losses_and_nothing_for_neither() -> None:
    def change(to: float) -> str:
        steps = stage_steps([(metrics(1, "kd", 0.9), 1), (metrics(2, "at", to), 1)], None, [])
        return svg_of(steps)

    green, red = "#2f8f5b", "#b3261e"
    assert (green in change(0.91), red in change(0.91)) == (True, False)
    assert (green in change(0.89), red in change(0.89)) == (False, True)
    assert (green in change(0.9), red in change(0.9)) == (False, False)


def test_the_figure_leaves_latency_out_where_none_was_measured() -> None:
    assert "p50, ms" not in svg_of(whole()[:3])


def test_there_is_no_figure_where_no_accuracy_is_known() -> None:
    assert waterfall(stage_steps([(metrics(1, "kd", None), 1)], None, []), None) is None


def test_the_table_has_the_change_at_each_step() -> None:
    table = waterfall_table(whole(), "local-onnx-int8")
    assert table.marked == "onnx int8"
    assert table.starred
    assert all(len(row) == len(table.heads) for row in table.rows)
    assert table.rows[1] == [
        "1 kd+at", "90.00", "−5.00", "1", "4.00", "–", "–", "teacher", "10 epochs",
    ]  # fmt: skip
    assert table.rows[-1] == [
        "onnx int8", "77.70 *", "+27.70", "0", "4.00", "1.250", "–", "onnx fp32", "local-onnx-int8",
    ]  # fmt: skip
    assert not waterfall_table(whole()[:3], None).starred


def test_nothing_is_marked_where_all_is_judged_on_the_test_images() -> None:
    student = network_step("student", {"model": "resnet8", "test": {"top1": 0.9}}, 300)
    bundle = exported("onnx", "fp32", top1=0.89, n=10, split="test")
    steps = [student, *bundle_steps([bundle], student, {})]
    assert usual_split(steps) == "test"
    table = waterfall_table(steps, None)
    assert not table.starred and [row[1] for row in table.rows] == ["90.00", "89.00"]
    assert "*" not in "".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg_of(steps)))
    assert usual_split(whole()) == "validation"


@pytest.mark.parametrize(
    ("change", "words"), [(1.5, "+1.50"), (-0.2, "−0.20"), (-0.001, "±0.00"), (None, "–")]
)
def test_a_change_has_its_sign(change: float | None, words: str) -> None:
    assert signed(change) == words


def test_what_ran_is_told_by_operators_where_they_differ() -> None:
    assert ran_in(ExecutedPrecision("f32", {"f32": 9})) == "f32"
    mixed = ExecutedPrecision("int8", {"f32": 2, "u8": 9, "bf16": 2})
    assert ran_in(mixed) == "int8 (u8 9, bf16 2, f32 2)"
