"""Images without labels, on the road: a teacher says what they are, and students agree or not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deploy_targets.device.checks import labels_of
from deploy_targets.measuring.measure import MeasureOptions, _labels_of
from export.graphs.to_onnx import export_onnx
from foundation.errors import (
    CorruptFileError,
    DataLayoutError,
    RecipeError,
    RunMismatchError,
)
from foundation.files import read_json
from pipeline.commands.export import check_metric
from pipeline.data.facts import AGREEMENT, TEST, read_facts, read_images
from pipeline.exporting.export import export_source
from pipeline.gating.labels import LabelsKnown
from pipeline.models import build_model
from pipeline.preflight.names import check_names
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.agreement import ANSWERS, answered_batches
from pipeline.training.networks import trained_student, trained_teacher
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import distil, teach, train_student_alone
from smskd.listening import Listener
from smskd.training.stage_files import METRICS

CLASSES, SIDE = 3, 12
KD = [{"methods": "kd", "epochs": 2, "lr": 0.01}]
QUICK = {
    "data.image_size": SIDE,
    "data.batch_size": 16,
    "student.model": "resnet8",
    "engine.accelerator": "cpu",
    "stages": KD,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """frames/, with folders within that are no classes; photos/, with class folders; a teacher."""
    root = tmp_path_factory.mktemp("unlabelled")
    random = np.random.default_rng(0)
    for number in range(40):
        folder = root / "frames" / ("monday" if number % 2 else "tuesday/late")
        _picture(folder / f"{number}.png", random)
    for number in range(36):
        _picture(root / "photos" / f"c{number % CLASSES}" / f"{number}.png", random)
    torch.manual_seed(3)
    network = build_model("resnet8", CLASSES, 3)
    with torch.no_grad():
        network.train()(torch.rand(64, 3, SIDE, SIDE))
    export_onnx(network.eval(), torch.zeros(1, 3, SIDE, SIDE), root / "model.onnx", 20)
    return root


def _picture(path: Path, random: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = random.integers(40, 216, 3) + random.integers(-30, 30, (SIDE, SIDE, 3))
    Image.fromarray(colour.astype(np.uint8)).save(path)


def walk(folder: Path, place: Path, data: str, **changes: object) -> RunFolder:
    keys = {"data.name": f"folder:{place / data}", "teacher.model": str(place / "model.onnx")}
    file = load_recipe(None, {**QUICK, **keys, **changes})
    check_names(file)
    run, images = start_run(folder, file.recipe), TrainingData(file)
    prepare(run, images)
    teach(run, images, Listener())
    distil(run, images, Listener())
    train_student_alone(run, images, Listener())
    return run


@pytest.fixture(scope="module")
def frames(place: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("runs") / "frames"
    return walk(folder, place, "frames", **{"data.unlabelled": True})


def agreed(run: RunFolder, student: nn.Module) -> float:
    """How often a student answers the kept test images as the teacher does, counted anew."""
    facts, images = read_facts(run.data), read_images(run.data / AGREEMENT)
    with torch.no_grad():
        seen = torch.from_numpy(facts.preprocessing.apply(images.pixels))
        return float((student(seen).argmax(1).numpy() == images.labels).mean())


class TestFramesAlone:
    def test_their_classes_are_the_teachers(self, frames: RunFolder) -> None:
        facts = read_facts(frames.data)
        assert facts.classes == ["0", "1", "2"] and not facts.has_labels
        assert facts.counts == {"train": 28, "student_train": 28, "validation": 4, "test": 8}

    def test_a_student_is_held_against_the_teachers_answers(self, frames: RunFolder) -> None:
        told = frames.record()["networks"]["student"]
        assert "test" not in told and "validation" not in told
        assert told["agreement"]["test"]["n"] == 8
        assert told["agreement"]["test"]["share"] == agreed(frames, trained_student(frames))
        assert agreed(frames, trained_teacher(frames)) == 1

    def test_the_labels_count_for_nothing_and_that_is_said(self, frames: RunFolder) -> None:
        metrics = read_json(frames.stages / "1-kd" / METRICS)
        assert [epoch["losses"]["ce"] for epoch in metrics["history"]] == [0, 0]
        assert all(epoch["losses"]["kd"] > 0 for epoch in metrics["history"])
        assert all(epoch["val_top1"] is None for epoch in metrics["history"])
        shares = frames.record()["networks"]["student"]["agreement"]
        assert metrics["last"]["val_agreement"] == shares["validation"]["share"]
        assert any("no image has a label" in line for line in frames.remarks()["distill"])

    def test_a_bundle_has_no_accuracy(self, frames: RunFolder) -> None:
        source = export_source(frames, "student")
        assert source.evaluation is None and source.validation is None
        assert source.unlabelled is not None and len(source.unlabelled) == 8

    def test_a_metric_has_nothing_to_go_by(self, frames: RunFolder) -> None:
        with pytest.raises(RecipeError, match="metric macro_f1 has nothing to go by"):
            check_metric(frames, frames.recipe_with({"metric": "macro_f1"}))

    def test_the_same_command_finds_all_done(self, frames: RunFolder, place: Path) -> None:
        before = (frames.stages / "1-kd" / METRICS).stat().st_mtime_ns
        answers = (frames.teacher / ANSWERS).stat().st_mtime_ns
        walk(frames.path, place, "frames", **{"data.unlabelled": True})
        assert (frames.stages / "1-kd" / METRICS).stat().st_mtime_ns == before
        assert (frames.teacher / ANSWERS).stat().st_mtime_ns == answers

    def test_answers_that_were_cut_off_are_told_in_a_line(
        self, frames: RunFolder, tmp_path: Path
    ) -> None:
        whole, run = (frames.teacher / ANSWERS).read_bytes(), RunFolder(tmp_path)
        run.teacher.mkdir()
        (run.teacher / ANSWERS).write_bytes(whole[: len(whole) // 2])
        data = TrainingData(load_recipe(frames.recipe_path))
        with pytest.raises(CorruptFileError, match="not the teacher's answers"):
            answered_batches(run, data)

    def test_of_data_that_was_read_anew_the_teacher_is_asked_anew(self, frames: RunFolder) -> None:
        done = frames.record()["steps"]
        assert done["teacher"]["depends_on"]["answered"] == done["data"]["products"]

    def test_measured_it_is_agreement_and_no_accuracy(self, frames: RunFolder) -> None:
        from pipeline.benching.bench import _judged_on  # noqa: PLC0415

        assert _judged_on(frames, "student") == {
            "evaluation": frames.data / AGREEMENT,
            "agreement_from": 0,
        }
        assert _judged_on(frames, "teacher") == {"evaluation": None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": [{"methods": "dkd"}]}, r"methods\[0\]: method 'dkd' needs the label of each"),
        ({"stages": [{"methods": "sakd"}]}, "method 'sakd' needs the label of each image"),
        ({"teacher.model": "resnet20"}, "teacher resnet20 would be trained here"),
        ({"student.train_alone": True}, "the labels alone, and no image has one"),
        ({"student.expect_top1": 90.0}, "no image has a label to tell it by"),
        ({"gate.limits": {"top1_percent": {"min": 90.0}}}, "limit teacher_agreement_percent"),
        ({"gate.limits": {"recall.a": {"min": 90.0}}}, "limit teacher_agreement_percent"),
        ({"metric": "macro_f1"}, "macro_f1 is told by labels"),
        ({"data.sampling": "sqrt"}, "drawn by their classes"),
        ({"stages": [{"methods": "kd", "class_weights": "inverse"}]}, "how many images each class"),
        ({"stages": [{"methods": "kd", "logit_adjustment": 1.0}]}, "how many images each class"),
        (
            {"stages": [{"methods": "kd", "label_correction": 0.3}]},
            "no image has a label to be corrected",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_needs_labels_is_refused_before_any_work(
    place: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        walk(tmp_path / "run", place, "frames", **{"data.unlabelled": True, **changes})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.unlabelled": True, "data.name": "digits"}, "folder:PATH, but got 'digits'"),
        ({"data.unlabelled_share": 0.5}, "but there are none; set unlabelled_from"),
        ({"data.unlabelled": True, "data.unlabelled_from": "folder:b"}, "leave out one of them"),
        ({"data.unlabelled_from": "digits"}, "folder:PATH, but got 'digits'"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(None, {"data.name": "folder:a", **changes})


def test_without_saying_so_a_flat_folder_is_refused_with_what_to_say(
    place: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataLayoutError, match=r"no labels, .*--unlabelled"):
        walk(tmp_path / "run", place, "frames/monday")


def test_too_few_images_are_told_of(place: Path, tmp_path: Path) -> None:
    _picture(tmp_path / "few/one.png", np.random.default_rng(1))
    with pytest.raises(DataLayoutError, match="1 images without labels, and 5 are the least"):
        walk(tmp_path / "run", place, str(tmp_path / "few"), **{"data.unlabelled": True})


def test_images_that_are_the_datasets_own_are_not_learned_from_again(
    place: Path, tmp_path: Path
) -> None:
    keys = {"data.unlabelled_from": f"folder:{place}"}
    with pytest.raises(DataLayoutError, match=r"\d+ of the images there are those of folder:"):
        walk(tmp_path / "run", place, "photos", **keys)


@pytest.mark.parametrize("put", [shutil.copyfile, lambda picture, to: to.symlink_to(picture)])
def test_nor_are_copies_and_links_of_them(place: Path, tmp_path: Path, put) -> None:
    frames = tmp_path / "frames"
    shutil.copytree(place / "frames", frames)
    own = place / "photos/c1/1.png"
    put(own, frames / "another.png")
    keys = {"data.unlabelled_from": f"folder:{frames}"}
    with pytest.raises(DataLayoutError, match=r": 1 of the images there are those of folder:"):
        walk(tmp_path / "run", place, "photos", **keys)


class TestBesideOthers:
    @pytest.fixture(scope="class")
    def run(self, place: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
        folder = tmp_path_factory.mktemp("runs") / "both"
        keys = {
            "data.unlabelled_from": f"folder:{place / 'frames'}",
            "data.unlabelled_share": 0.5,
            "student.train_alone": True,
            "stages": [{**KD[0], "label_correction": 0.3}],
        }
        return walk(folder, place, "photos", **keys)

    def test_accuracy_is_of_labels_and_agreement_of_the_rest(self, run: RunFolder) -> None:
        told, counts = run.record()["networks"]["student"], read_facts(run.data).counts
        assert told["test"]["n"] == counts["test"] == 8
        assert told["agreement"]["test"]["n"] == counts["unlabelled_test"] == 8
        assert counts["student_train"] == counts["train"] + 28
        last = read_json(run.stages / "1-kd" / METRICS)["last"]
        assert last["val_top1"] == told["validation"]["top1"]
        assert last["val_agreement"] == told["agreement"]["validation"]["share"]

    def test_both_are_measured_on_one_file_and_told_apart(self, run: RunFolder) -> None:
        images = read_images(run.data / AGREEMENT)
        truth = read_images(run.data / "test.npz")
        assert len(images.labels) == 8 + 8
        np.testing.assert_array_equal(images.labels[:8], truth.labels)
        np.testing.assert_array_equal(images.pixels[:8], truth.pixels)

    def test_what_is_judged_by_labels_is_told_by_those_of_the_test_images(
        self, run: RunFolder
    ) -> None:
        """So that the teacher's bundle, which is asked about these alone, answered the same."""
        options = MeasureOptions(evaluation=run.data / AGREEMENT, agreement_from=8)
        (before, since), count = _labels_of(options)
        assert (before, count) == (labels_of(run.data / TEST)[0], 16)
        known = LabelsKnown([run]).of(before)
        assert known is not None and len(known.labels) == 8
        assert LabelsKnown([run]).of(since) is None

    def test_the_student_alone_learns_from_labels_alone(self, run: RunFolder) -> None:
        history = read_json(run.alone / METRICS)["history"]
        assert all(epoch["losses"]["ce"] > 0 for epoch in history)

    def test_a_new_frame_is_noticed(self, run: RunFolder, place: Path) -> None:
        new = place / "frames" / "new.png"
        _picture(new, np.random.default_rng(5))
        recipe = run.recipe()
        keys = {"data.unlabelled_from": recipe.data.unlabelled_from, "data.unlabelled_share": 0.5}
        more = {"student.train_alone": True, "stages": [{**KD[0], "label_correction": 0.3}]}
        try:
            with pytest.raises(RunMismatchError, match=r"data changed .*new\.png"):
                walk(run.path, place, "photos", **keys, **more)
        finally:
            new.unlink()
