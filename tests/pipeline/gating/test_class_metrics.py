"""Limits by classes, and of a metric of one's own, against figures worked out by hand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy_targets.device.messages import Accuracy
from foundation.bundle import Preprocessing
from foundation.classification import mean_score
from foundation.errors import CorruptFileError, UnknownNameError, UsageError
from foundation.files import sha256_of
from foundation.statistics import paired_difference, wilson_interval
from pipeline.data.facts import DataFacts, write_facts, write_images
from pipeline.data.images import ArrayImages
from pipeline.gating.evidence import Baseline, Evidence
from pipeline.gating.judging import judge
from pipeline.metrics.judging import NamedMetric
from pipeline.recipe.file import read_toml, validated
from pipeline.recipe.sections.gate import GateRecipe, Limit
from pipeline.run_folder.folder import RunFolder

NAMES = ["good", "crack", "bad weld"]
LABELS = np.repeat([0, 1, 2], [200, 100, 60])
TEACHER = LABELS.copy()
# The student loses 15 of the 60 bad welds, which it calls good.
STUDENT = LABELS.copy()
STUDENT[-15:] = 0


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.data.mkdir(parents=True)
    shape = Preprocessing(1, 1, 1, [0.0], [1.0])
    counts = dict.fromkeys(("train", "student_train", "validation", "test"), 360)
    write_facts(run.data, DataFacts("weld", NAMES, shape, counts, []))
    pixels = np.zeros((360, 1, 1, 1), np.uint8)
    write_images(run.data / "test.npz", ArrayImages(pixels, LABELS))
    return run


def said(measurement, called, **changes):
    right = called == LABELS
    digest = hashlib.sha256(LABELS.astype("<i8").tobytes()).hexdigest()
    accuracy = Accuracy(
        float(right.mean()), 360, *wilson_interval(int(right.sum()), 360),
        np.packbits(right).tobytes().hex(), digest, " ".join(map(str, called)),
    )  # fmt: skip
    return replace(measurement, accuracy=replace(accuracy, **changes))


@pytest.fixture
def both(student, teacher, run) -> Evidence:
    return Evidence([said(student, STUDENT), said(teacher, TEACHER)], runs=[run])


def only(evidence: Evidence, name: str, baseline: Baseline | None = None, **limit):
    rules = GateRecipe(limits={name: Limit(**limit)}, bundles=["local-onnx-int8"])
    (check,) = judge(evidence, rules, baseline).checks
    return check


def test_recall_of_a_class_has_wilsons_interval(both) -> None:
    check = only(both, "recall.bad weld", min=60)
    low, high = wilson_interval(45, 60)
    assert (check.value, check.low, check.high) == (75, 100 * low, 100 * high)
    assert (check.verdict, check.basis) == ("pass", "measured")
    assert "75 % of 60 images" in check.reason
    assert only(both, "recall.bad weld", min=90).verdict == "fail"
    assert only(both, "recall.bad weld", min=75).verdict == "inconclusive"
    assert not check.repeatable


def test_precision_and_f1_of_a_class(both) -> None:
    assert only(both, "precision.good", min=85).value == pytest.approx(100 * 200 / 215)
    assert only(both, "f1.good", min=85).value == pytest.approx(100 * 400 / 415)
    assert only(both, "f1.bad weld", min=60).value == pytest.approx(100 * 90 / 105)


def test_means_over_classes(both) -> None:
    check = only(both, "macro_f1_points", min=80)
    expected = mean_score(LABELS, STUDENT, 3, "macro_f1")
    assert (check.value, check.low, check.high) == pytest.approx(
        (100 * expected.value, 100 * expected.low, 100 * expected.high)
    )
    assert only(both, "macro_recall_points", min=80).value == pytest.approx(100 * 2.75 / 3)
    assert only(both, "macro_precision_points", min=80).value == pytest.approx(
        100 * (200 / 215 + 2) / 3
    )


def test_the_worst_class_is_named(both) -> None:
    check = only(both, "worst_class_percent", min=50)
    assert check.value == 75
    assert "(class bad weld, 60 images)" in check.reason


def test_the_class_that_lost_most_is_held_against_the_teacher_image_by_image(both) -> None:
    check = only(both, "worst_class_drop_points", max=5)
    assert check.value == 25
    assert check.high == pytest.approx(100 * paired_difference(15, 0, 60)[2])
    assert (check.verdict, check.basis) == ("fail", "same images")
    assert check.reference == "local-teacher-onnx-fp32"
    assert "(class bad weld, 60 images)" in check.reason
    # Of as few images as that, ten points are more than they can tell.
    assert only(both, "worst_class_drop_points", max=20).verdict == "inconclusive"
    assert only(both, "worst_class_drop_points", max=40).verdict == "pass"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recall.bad weld", 25),
        ("recall.crack", 0),
        ("precision.good", 100 * 15 / 215),
        ("f1.good", 100 * 15 / 415),
        ("macro_recall_points", 25 / 3),
        ("worst_class_drop_points", 25),
    ],
)
def test_regressions_are_points_on_the_same_images(both, name: str, value: float) -> None:
    check = only(both, name, max_regression=1, against="teacher")
    assert check.value == pytest.approx(value)
    assert check.low < check.value < check.high
    assert check.basis == "same images"


def test_a_baseline_needs_only_its_measurement(both, student) -> None:
    before = Baseline([said(student, TEACHER)])
    check = only(both, "recall.bad weld", before, max_regression=1)
    assert (check.value, check.basis) == (25, "same images")


def test_other_test_images_are_compared_as_independent(both, student) -> None:
    before = Baseline([said(student, TEACHER, labels_sha256="c" * 64)])
    check = only(both, "recall.bad weld", before, max_regression=1)
    assert check.verdict == "fail"
    assert "what the test images show is in the run folder" in check.reason


@pytest.mark.parametrize("name", ["f1.crack", "macro_f1_points"])
def test_what_an_older_measurement_did_not_keep_is_told(student, run, name: str) -> None:
    evidence = Evidence([said(student, STUDENT, answers=None)], runs=[run])
    check = only(evidence, name, min=50)
    assert check.verdict == "fail"
    assert "measure it again with `compress bench`" in check.reason
    assert only(evidence, "recall.crack", min=50).verdict == "pass"


def test_files_alone_do_not_tell_what_images_show(student) -> None:
    check = only(Evidence([said(student, STUDENT)]), "recall.crack", min=50)
    assert "is in the run folder; judge that" in check.reason


def test_a_class_that_there_is_none_of_is_refused_with_the_nearest(both) -> None:
    with pytest.raises(UnknownNameError, match=r"limits.recall.crak: unknown class 'crak', did"):
        only(both, "recall.crak", min=50)
    with pytest.raises(UnknownNameError, match=r"did you mean 'recall\.CLASS'"):
        only(both, "recal.crack", min=50)


def test_limits_that_make_no_sense_are_refused(both) -> None:
    with pytest.raises(UsageError, match="lies between 0 and 100"):
        only(both, "recall.crack", min=101)
    with pytest.raises(UsageError, match="write it as worst_class_drop_points"):
        only(both, "worst_class_percent", max_regression=1, against="teacher")


def test_answers_that_contradict_themselves_are_refused(student, run) -> None:
    torn = said(student, STUDENT, answers=" ".join(map(str, TEACHER)))
    with pytest.raises(CorruptFileError, match="measure again"):
        only(Evidence([torn], runs=[run]), "macro_f1_points", min=50)


def test_a_dot_in_toml_is_a_table_and_both_spellings_are_one(tmp_path: Path) -> None:
    path = tmp_path / "budget.toml"
    path.write_text(
        '[limits]\nrecall.crack = { min = 90 }\nrecall."bad weld" = { min = 80 }\n'
        '"f1.good" = { min = 70 }\nmetric.hits = { max_regression = 0.1 }\n'
    )
    rules = validated(GateRecipe, *read_toml(path, "budget"))
    assert list(rules.limits) == ["recall.crack", "recall.bad weld", "f1.good", "metric.hits"]
    assert rules.limits["recall.bad weld"].min == 80


class TestAMetricOfOnesOwn:
    """hits: the share of images that are named rightly."""

    @staticmethod
    def keep(run: RunFolder, answers: dict[str, np.ndarray]) -> None:
        metric = NamedMetric("mine:hits", lambda x, y, ids: (x.argmax(1) == y).mean())
        products = {}
        for bundle, classes in answers.items():
            path = run.findings / bundle / "metric.json"
            path.parent.mkdir(parents=True)
            logits = np.eye(3, dtype=np.float32)[classes]
            path.write_text(json.dumps(vars(metric.judge(logits, LABELS))))
            products[path.relative_to(run.path).as_posix()] = sha256_of(path)
        step = {"depends_on": {}, "products": products}
        record = {
            "schema_version": 1, "name": "x", "seed": 0, "created_at": "", "commit": None,
            "python": "", "platform": "", "versions": {}, "steps": {"export": step},
        }  # fmt: skip
        run.record_path.write_text(json.dumps(record))

    @pytest.fixture
    def kept(self, run, both) -> Evidence:
        self.keep(run, {"local-onnx-int8": STUDENT, "local-teacher-onnx-fp32": TEACHER})
        return both

    def test_is_limited_in_its_own_unit(self, kept) -> None:
        check = only(kept, "metric.hits", min=0.9)
        assert check.value == pytest.approx(345 / 360)
        assert check.low < check.value < check.high
        assert check.verdict == "pass"
        assert only(kept, "metric.hits", min=0.99).verdict == "fail"

    def test_regresses_image_by_image(self, kept) -> None:
        check = only(kept, "metric.hits", max_regression=0.01, against="teacher")
        assert check.value == pytest.approx(15 / 360)
        assert (check.verdict, check.basis) == ("fail", "same images")

    def test_that_was_not_kept_is_told(self, both) -> None:
        check = only(both, "metric.hits", min=0.5)
        assert check.verdict == "fail"
        assert "exported without a metric; export it again with --metric" in check.reason

    def test_value_that_there_is_none_of_is_refused(self, kept) -> None:
        with pytest.raises(UnknownNameError, match="unknown value of metric 'mine:hits' 'hit'"):
            only(kept, "metric.hit", min=0.5)

    def test_that_was_edited_is_refused(self, kept, run) -> None:
        path = run.findings / "local-onnx-int8" / "metric.json"
        path.write_text(path.read_text().replace("mine:hits", "mine:hitz"))
        with pytest.raises(CorruptFileError, match="changed since it was made"):
            only(kept, "metric.hits", min=0.5)


def test_a_baseline_on_other_images_with_other_classes_has_no_such_class(
    both, student, run, tmp_path: Path
) -> None:
    older = RunFolder(tmp_path / "older")
    older.data.mkdir(parents=True)
    shape = Preprocessing(1, 1, 1, [0.0], [1.0])
    counts = dict.fromkeys(("train", "student_train", "validation", "test"), 2)
    write_facts(older.data, DataFacts("weld", ["good", "crack"], shape, counts, []))
    labels = np.array([0, 1])
    write_images(older.data / "test.npz", ArrayImages(np.zeros((2, 1, 1, 1), np.uint8), labels))
    digest = hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    accuracy = Accuracy(1.0, 2, *wilson_interval(2, 2), "c0", digest, "0 1")
    before = Baseline([replace(student, accuracy=accuracy)], runs=[older])
    check = only(both, "recall.bad weld", before, max_regression=1)
    assert "local-onnx-int8 has no class bad weld" in check.reason
    check = only(both, "recall.crack", before, max_regression=1)
    assert (check.value, check.basis) == (0, "measured")
    check = only(both, "worst_class_drop_points", before, max_regression=1)
    assert "did not answer the same test images" in check.reason
