"""What is taken of weights, of the recipe and of the teacher about the preparation of images."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
from onnx import TensorProto, helper
from torchvision import models
from torchvision.transforms import InterpolationMode

from foundation.bundle import Preprocessing
from foundation.errors import CorruptFileError, MissingFileError, UnknownNameError
from pipeline.data.fitting import Preparations, fit_at, preparations
from pipeline.data.framing import Fit
from pipeline.models.preparation import KNOWN, Preparation, preparation_from
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.data import PreprocessingRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.training.prepare import TrainingData

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def known(**sections: Any) -> Preparations:
    return preparations(Recipe(**sections))


def fit_of(known: Preparations) -> Fit:
    size = known.student.size or (0, 0)
    return fit_at(size, known.data.preprocessing)


RESNET = {"model": "torchvision/resnet50", "weights": "torchvision:IMAGENET1K_V2"}


class TestPretrainedWeights:
    @pytest.mark.parametrize(
        ("model", "weights"),
        [("resnet50", "IMAGENET1K_V1"), ("resnet50", "IMAGENET1K_V2"),
         ("efficientnet_b0", "DEFAULT"), ("inception_v3", "DEFAULT"), ("vit_b_16", "DEFAULT"),
         ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")],
    )  # fmt: skip
    def test_of_torchvision_bring_its_own_transforms(self, model: str, weights: str) -> None:
        found = known(
            student={"model": f"torchvision/{model}", "weights": f"torchvision:{weights}"}
        ).student
        seen = models.get_model_weights(model)[weights].transforms()
        assert found.size == tuple(seen.crop_size * 2)[:2]
        assert found.resize_to == tuple(seen.resize_size * 2)[:2]
        assert (found.fit, InterpolationMode(found.resize)) == ("crop", seen.interpolation)
        assert (found.mean, found.std) == (tuple(seen.mean), tuple(seen.std))

    @pytest.mark.parametrize(
        "name",
        [
            "resnet50.a1_in1k",
            "tf_efficientnet_lite0.in1k",
            "vit_base_patch32_clip_448.laion2b_ft_in12k_in1k",
        ],
    )
    def test_of_timm_bring_its_configuration(self, name: str) -> None:
        model, _, tag = name.partition(".")
        found = known(student={"model": f"timm/{model}", "weights": f"timm:{tag}"}).student
        config = timm.get_pretrained_cfg(name)
        assert found.size == config.input_size[1:]
        assert found.fit == {"center": "crop", "squash": "squash"}[config.crop_mode]
        assert found.resize_to == tuple(int(side / config.crop_pct) for side in found.size)
        assert (found.resize, found.mean) == (config.interpolation, config.mean)

    def test_are_told_with_what_they_brought(self) -> None:
        (line,) = known(student=RESNET).remarks
        assert line == (
            "images are prepared as torchvision's ResNet50_Weights.IMAGENET1K_V2 has them: "
            "size 224, crop from 232, bilinear, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225"
        )


class TestWhoHasTheWord:
    def test_what_the_recipe_says_stays(self) -> None:
        found = known(
            student=RESNET,
            data={"image_size": 112, "mean": [0.5] * 3, "preprocessing": {"resize": "bicubic"}},
        )
        assert found.student.size == (112, 112)
        assert found.student.resize_to == (116, 116)
        assert (found.student.mean, found.student.std) == ((0.5,) * 3, STD)
        assert (found.student.resize, found.student.fit) == ("bicubic", "crop")
        assert fit_of(found) == Fit(112, 112, "crop", (116, 116), "bicubic")

    def test_another_fit_has_no_size_before_the_cut(self) -> None:
        found = known(student=RESNET, data={"preprocessing": {"fit": "squash"}})
        assert fit_of(found) == Fit(224, 224)

    def test_another_share_is_cut_out(self) -> None:
        found = known(student=RESNET, data={"preprocessing": {"crop_pct": 0.875}})
        assert fit_of(found) == Fit(224, 224, "crop", (256, 256))

    def test_a_fresh_student_takes_the_teachers(self) -> None:
        found = known(teacher=RESNET)
        assert found.student.resize_to == (232, 232)
        assert found.student == found.teacher
        assert len(found.remarks) == 1

    def test_a_teacher_whose_student_has_weights_of_its_own_keeps_its_own(self) -> None:
        student = {"model": "torchvision/inception_v3", "weights": "torchvision:DEFAULT"}
        found = known(teacher=RESNET, student=student)
        assert (found.student.size, found.teacher.size) == ((299, 299), (224, 224))
        assert [line.partition(" are ")[0] for line in found.remarks] == [
            "images", "the teacher's"
        ]  # fmt: skip

    def test_a_teacher_that_learns_here_sees_what_the_student_sees(self) -> None:
        assert known(student=RESNET).teacher == known(student=RESNET).student

    def test_a_source_is_taken_before_the_weights_own(self) -> None:
        found = known(student=RESNET, data={"preprocessing": {"source": "inception"}})
        assert found.student.mean == (0.5,) * 3
        teacher = {**RESNET, "preprocessing": "inception"}
        assert known(teacher=teacher).student.size == (299, 299)

    def test_nothing_is_known_of_a_network_that_learns_here(self) -> None:
        found = known()
        assert (found.student, found.remarks) == (Preparation(), ())

    def test_a_guess_is_called_one(self) -> None:
        weights = {"model": "torchvision/resnet18", "weights": "own.pt"}
        (line,) = known(student=weights).remarks
        assert line.startswith("own.pt: does not say how its images were prepared")
        assert "a guess" in line and "--preprocessing" in line
        (line,) = known(teacher=weights).remarks
        assert "teacher.preprocessing" in line
        assert not known(student=weights, data={"preprocessing": {"fit": "squash"}}).remarks
        (line,) = preparations(Recipe(student={"model": "mine:net"}), is_adopted=True).remarks
        assert line.startswith("mine:net: does not say")


class TestASource:
    @pytest.mark.parametrize(
        ("source", "model", "resize_to"),
        [("torchvision:IMAGENET1K_V1", "torchvision/resnet50", 256),
         ("torchvision:ResNet50_Weights.IMAGENET1K_V2", "mine:net", 232),
         ("torchvision:resnet50", "mine:net", 232),
         ("timm:resnet50", "mine:net", 235), ("timm:resnet50.tv_in1k", "mine:net", 256),
         ("timm:tv_in1k", "timm/resnet50", 256), ("imagenet", "x", 256), ("inception", "x", 341)],
    )  # fmt: skip
    def test_is_found_by_name(self, source: str, model: str, resize_to: int) -> None:
        assert preparation_from(source, model, "here").resize_to == (resize_to, resize_to)

    @pytest.mark.parametrize(
        ("source", "error", "words"),
        [("torchvision:IMAGENET1K_V9", UnknownNameError, "IMAGENET1K_V"),
         ("torchvision:ResNet50_Weights.NONE", UnknownNameError, "ResNet50_Weights"),
         ("timm:resnet5", UnknownNameError, "resnet5"),
         ("imagnet", MissingFileError, "did you mean 'imagenet'"),
         ("away.json", MissingFileError, "data.preprocessing.source: 'away.json' is no file")],
    )  # fmt: skip
    def test_that_is_none_is_told_in_one_line(
        self, source: str, error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words) as caught:
            preparation_from(source, "torchvision/resnet50", "data.preprocessing.source")
        assert "\n" not in str(caught.value)

    def test_may_be_a_file_such_as_a_bundles(self, tmp_path: Path) -> None:
        record = {"height": 24, "width": 32, "mean": [0.5], "std": [0.25], "fit": "pad"}
        (tmp_path / "bundle.json").write_text(json.dumps({"preprocessing": record}))
        (tmp_path / "own.toml").write_text(
            'height = 24\nwidth = 32\nmean = [0.5]\nstd = [0.25]\nfit = "pad"\n'
        )
        for name in ("bundle.json", "own.toml"):
            found = preparation_from(str(tmp_path / name), "x", "here")
            assert (found.size, found.channels, found.fit) == ((24, 32), 1, "pad")
            assert found.source == name

    @pytest.mark.parametrize(
        ("noted", "size", "resize_to"),
        [({}, (24, 32), (26, 34)), ({"embedded": True}, (24, 32), (26, 34)),
         ({"embedded": True, "resize_embedded": True}, (26, 34), None)],
        ids=str,
    )  # fmt: skip
    def test_may_be_a_graph_that_notes_it(
        self, tmp_path: Path, noted: dict, size: tuple[int, int], resize_to: tuple[int, int] | None
    ) -> None:
        graph = helper.make_graph([], "empty", [], [])
        model = helper.make_model(graph)
        onnx.save(model, tmp_path / "plain.onnx")
        record = Preprocessing(24, 32, 1, [0.5], [0.25], fit="crop", resize_to=[26, 34], **noted)
        helper.set_model_props(model, {"preprocessing": json.dumps(asdict(record))})
        onnx.save(model, tmp_path / "ours.onnx")
        for found in (
            known(student={"model": str(tmp_path / "ours.onnx")}).student,
            preparation_from(str(tmp_path / "ours.onnx"), "x", "here"),
        ):
            assert (found.size, found.fit, found.resize_to) == (size, "crop", resize_to)
            assert found.source == "ours.onnx"
        found = known(student={"model": str(tmp_path / "plain.onnx")})
        assert found.student == Preparation()
        assert "does not say" in found.remarks[0]

    @pytest.mark.parametrize("note", ["imagenet", "[]", '{"resize": 256}', "[" * 100_000])
    def test_of_somebody_elses_own_making_in_a_graph_is_none(
        self, tmp_path: Path, note: str
    ) -> None:
        model = helper.make_model(helper.make_graph([], "empty", [], []))
        helper.set_model_props(model, {"preprocessing": note})
        onnx.save(model, tmp_path / "net.onnx")
        found = known(student={"model": str(tmp_path / "net.onnx")})
        assert found.student == Preparation()
        assert "does not say" in found.remarks[0]

    @pytest.mark.parametrize(
        "content",
        ["", "[]", "{}", '{"mean": [0.5]}', '{"mean": 3', '{"mean": 3}', "[" * 100_000],
        ids=lambda content: content[:15],
    )
    def test_that_says_nothing_is_told_in_one_line(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(CorruptFileError, match=r"a\.json: says nothing of how") as caught:
            preparation_from(str(tmp_path / "a.json"), "x", "here")
        assert "\n" not in str(caught.value)


def test_what_is_known_reaches_the_networks(photos: Path) -> None:
    recipe = Recipe(data={"name": f"folder:{photos}", "val_fraction": 0.2}, teacher=RESNET)
    data = TrainingData(RecipeFile(recipe))
    record = data.splits.preprocessing
    assert record == Preprocessing(
        224, 224, 3, list(MEAN), list(STD), fit="crop", resize_to=[232, 232],
        source="torchvision's ResNet50_Weights.IMAGENET1K_V2",
    )  # fmt: skip
    assert data.splits.teacher_preprocessing == record
    images, _ = next(iter(data.evaluation(data.splits.validation)))
    assert images.shape[1:] == (3, 224, 224)


def test_what_is_known_of_the_teacher_alone_reaches_it(photos: Path) -> None:
    recipe = Recipe(
        data={"name": f"folder:{photos}", "val_fraction": 0.2, "image_size": 16},
        teacher={**RESNET, "preprocessing": "inception"},
        student={"weights": "own.pt"},
    )
    splits = TrainingData(RecipeFile(recipe)).splits
    assert splits.preprocessing.fit == "squash"
    assert splits.teacher_preprocessing.fit == "crop"
    assert splits.teacher_preprocessing.resize_to == [18, 18]
    assert splits.teacher_preprocessing.mean == [0.5] * 3


def test_the_named_ones_are_complete() -> None:
    for name, preparation in KNOWN.items():
        assert None not in (preparation.size, preparation.mean, preparation.source), name


def test_two_sizes_before_the_cut_and_a_filter_that_needs_antialiasing_are_refused() -> None:
    with pytest.raises(ValueError, match="say the same thing"):
        PreprocessingRecipe(crop_pct=0.9, resize_to=256)
    with pytest.raises(ValueError, match="always antialiases"):
        PreprocessingRecipe(resize="bicubic", antialias=False)


def _graph_taking(path: Path, element: int) -> Path:
    given = helper.make_tensor_value_info("image", element, ["N", 3, 96, 128])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])
    node = helper.make_node("Identity", ["image"], ["logits"])
    onnx.save(helper.make_model(helper.make_graph([node], "net", [given], [logits])), path)
    return path


def test_a_teacher_that_is_a_graph_tells_its_size(tmp_path: Path) -> None:
    path = _graph_taking(tmp_path / "net.onnx", TensorProto.FLOAT)
    found = known(teacher={"model": str(path)})
    assert found.teacher.size == found.student.size == (96, 128)
    assert "teacher" in found.guessed


def test_a_student_does_not_learn_on_raw_pixels_as_its_teacher_takes_them(tmp_path: Path) -> None:
    path = _graph_taking(tmp_path / "net.onnx", TensorProto.UINT8)
    found = known(teacher={"model": str(path)})
    assert found.teacher.std == (1 / 255,) * 3
    assert found.student.std is None
    assert found.student.size == (96, 128)
