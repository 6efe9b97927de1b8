"""Sets of images as people have them, each walked through by a network whose answers are known.

A picture is of one colour, and the network answers with the class whose number its red and green
say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from foundation.bundle import Manifest, open_bundle
from pipeline.data.class_order import class_order
from pipeline.data.facts import read_facts
from pipeline.exporting.candidates import SAME_ANSWERS
from pipeline.exporting.choice import read_shipping
from pipeline.report.tables import shipping_table
from pipeline.run_folder.folder import RunFolder

FP32 = ["--format", "onnx", "--precision", "fp32"]
BOTH = [*FP32, "--precision", "int8"]


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (number // 256, number % 256, 0)).save(path)


def knowing(path: Path, order: Sequence[int], **notes: str) -> Path:
    """An ONNX classifier of uint8 images, whose logit k is the largest for pictures of number
    `order[k]`."""
    numbers = np.array(order, np.float32)
    # −(n − k)² but for n², which all logits share.
    red = 256.0 if max(order) > 255 else 0.0  # in 8 bits a weight nobody needs hides the others
    code = np.array([[red], [1.0], [0.0]], np.float32) @ (2 * numbers[None] / 256)
    constants = {"axes": np.array([1, 2]), "code": code, "shift": -(numbers**2) / 256}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "code", "shift"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "knowing",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(order)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    helper.set_model_props(model, notes)
    onnx.save(model, path)
    return path


@pytest.fixture
def exported(forked, tmp_path: Path) -> Callable[..., tuple[RunFolder, str]]:
    """Exports a network on a set, and gives the run folder and what was said."""

    def export(network: Path, data: str, *options: str) -> tuple[RunFolder, str]:
        said = forked("export", network, "--data", data, *options, cwd=tmp_path)
        assert said.code == 0, said.err
        return RunFolder(tmp_path / "runs" / network.stem), said.err

    return export


def manifest(run: RunFolder, precision: str = "fp32") -> Manifest:
    return open_bundle(run.bundles / f"local-onnx-{precision}").manifest


class TestANetworkOfAThousandClasses:
    """ImageNet's, in its own order."""

    ORDER = class_order("imagenet1k")

    @pytest.fixture
    def network(self, tmp_path: Path) -> Path:
        return knowing(tmp_path / "net.onnx", range(1000))

    def test_is_judged_on_one_image_a_class(self, network: Path, tmp_path: Path, exported) -> None:
        for label, name in enumerate(self.ORDER.ids):
            draw(tmp_path / "set" / name / "1.png", label)
        run, said = exported(network, "folder:set", "--classes", "imagenet1k", *FP32)
        assert (manifest(run).accuracy["top1"], manifest(run).accuracy["n"]) == (1.0, 1000)
        assert manifest(run).classes == self.ORDER.classes
        assert "all 1000 images are test images; those that INT8 is calibrated on" in said
        assert read_facts(run.data).counts["train"] == 0

    def test_is_judged_on_one_image_a_class_with_others_to_calibrate_on(
        self, network: Path, tmp_path: Path, exported
    ) -> None:
        for label, name in enumerate(self.ORDER.ids):
            for split in ("train", "val"):
                draw(tmp_path / "set" / split / name / "1.png", label)
        run, said = exported(network, "folder:set", *FP32)
        assert manifest(run).accuracy["n"] == 1000
        assert "drawn without regard to the classes: 1000 images of 1000 classes are too" in said
        assert manifest(run).classes == self.ORDER.ids

    @pytest.mark.parametrize("called", ["ids", "names", "numbers", "table"])
    def test_is_judged_on_a_few_classes_whatever_they_are_called(
        self, called: str, network: Path, tmp_path: Path, exported
    ) -> None:
        labels = range(3, 1000, 100)
        names = {
            "ids": [f"{self.ORDER.ids[label]}_x" for label in labels],
            "names": [self.ORDER.classes[label].replace(" ", "_") for label in labels],
        }.get(called, [str(label) for label in labels])
        for label, name in zip(labels, names, strict=True):
            draw(tmp_path / "set" / name / "1.png", label)
        data = "folder:set"
        if called == "table":
            rows = [f"{name}/1.png,{name}\n" for name in names]
            (tmp_path / "set/labels.csv").write_text("".join(rows))
            data = "table:set/labels.csv"
        run, said = exported(network, data, "--classes", "imagenet1k", *FP32)
        assert (manifest(run).accuracy["top1"], manifest(run).accuracy["n"]) == (1.0, 10)
        assert "there are images of 10 of them" in said

    def test_is_refused_for_fewer_classes_with_the_order_that_has_them(
        self, network: Path, tmp_path: Path, forked
    ) -> None:
        for label, name in enumerate(self.ORDER.ids[:3]):
            draw(tmp_path / "set" / name / "1.png", label)
        said = forked("export", network, "--data", "folder:set", *FP32, cwd=tmp_path)
        assert said.code == 19
        assert (
            "1000 logits, but the data has 3 classes; the classes are all in imagenet1k" in said.err
        )
        assert not (tmp_path / "runs").exists() or not [*(tmp_path / "runs").iterdir()]

    def test_in_another_order_than_the_folders_is_told_of_before_its_export(
        self, network: Path, tmp_path: Path, exported
    ) -> None:
        """Folders with the classes' names are sorted by the alphabet."""
        for label, name in enumerate(self.ORDER.classes):
            draw(tmp_path / "set" / name / "1.png", label)
        run, said = exported(network, "folder:set", *FP32)
        assert manifest(run).accuracy["top1"] < 0.01
        assert "the classes are those of imagenet1k in another order, at" in said
        shown = said.index("its classes seem to be in the order of imagenet1k: by it 1000 of 1000")
        assert shown < said.index("exporting to ONNX")


def classes_of_three(root: Path, each: int = 10) -> None:
    for label, name in enumerate(("ant", "bee", "cow")):
        for number in range(each):
            draw(root / name / f"{number}.png", label)


def test_classes_that_a_graph_notes_in_another_order_are_told_of(tmp_path: Path, exported) -> None:
    classes_of_three(tmp_path / "set")
    notes = {"classes": json.dumps(["bee", "ant", "cow"])}
    _, said = exported(knowing(tmp_path / "net.onnx", [1, 0, 2], **notes), "folder:set", *FP32)
    assert "notes the classes in another order than the data has, at 2 of 3 places" in said
    assert "classes seem to be in an order of their own: by it 30 of 30 test images" in said
    (tmp_path / "names.json").write_text(json.dumps(["bee", "ant", "cow"]))
    run, said = exported(
        knowing(tmp_path / "net2.onnx", [1, 0, 2], **notes),
        "folder:set", "--classes", "names.json", *FP32,
    )  # fmt: skip
    assert manifest(run).accuracy["top1"] == 1.0
    assert manifest(run).classes == ["bee", "ant", "cow"]
    assert "order than" not in said


class TestImagesWithoutLabels:
    @pytest.fixture
    def network(self, tmp_path: Path) -> Path:
        for number in range(40):
            draw(tmp_path / "frames" / f"{number}.png", 100 * (number % 3))
        return knowing(tmp_path / "net.onnx", [0, 100, 200])

    def test_calibrate_and_show_agreement_and_give_no_accuracy_anywhere(
        self, network: Path, tmp_path: Path, exported, forked
    ) -> None:
        run, said = exported(network, "folder:frames", *BOTH)
        assert "have no labels: no accuracy is measured on them" in said
        for precision in ("fp32", "int8"):
            assert manifest(run, precision).accuracy == {}
        agreement = manifest(run, "int8").parity["unlabelled"]
        assert (agreement["top1_agreement"], agreement["n"]) == (1.0, 40)
        assert manifest(run).classes == ["0", "1", "2"]
        assert run.record()["networks"]["student"].keys() == {"model", "parameters", "macs"}
        quick = ["--queries", 10, "--max-seconds", 0.2]
        assert forked("bench", *quick, cwd=tmp_path).code == 0
        measured = json.loads(next((run.path / "bench").glob("*.json")).read_text())
        assert measured["accuracy"] is None
        assert forked("report", cwd=tmp_path).code == 0
        summary = (run.path / "report.md").read_text()
        assert "The 40 images of folder:frames have no labels: no accuracy was measured" in summary
        (tmp_path / "budget.toml").write_text("[limits]\ntop1_percent = { min = 1.0 }\n")
        gate = forked("gate", "--budget", "budget.toml", "--json", cwd=tmp_path)
        assert gate.code == 1
        reasons = {check["reason"] for check in gate.json()["checks"]}
        assert all("no images with labels were there" in reason for reason in reasons)

    def test_what_ships_is_chosen_by_how_often_it_answers_as_fp32_does(
        self, network: Path, tmp_path: Path, exported
    ) -> None:
        limit = ["--precision", "int8", "--max-drop", 2, "--format", "onnx"]
        run, _ = exported(network, "folder:frames", *limit)
        shipping = read_shipping(run.shipping_path)
        assert {candidate.metric for candidate in shipping.candidates} == {SAME_ANSWERS}
        assert [candidate.validation_top1 for candidate in shipping.candidates] == [1.0, 1.0]
        assert shipping.met and "the limit of 2 % of other answers" in shipping.reason
        assert "named as FP32 names it %" in shipping_table(shipping).heads
        assert all(manifest(run, precision).accuracy == {} for precision in ("fp32", "int8"))

    @pytest.mark.parametrize(
        ("command", "code", "words"),
        [
            ("export NET --expect-top1 90", 11, "90 % of the test images was expected"),
            ("distill", 13, "have no labels, and there is nothing to learn from without"),
        ],
    )
    def test_are_refused_in_one_line_where_labels_are_needed(
        self, network: Path, forked, command: str, code: int, words: str
    ) -> None:
        words_of_it = command.replace("NET", str(network)).split()
        said = forked(*words_of_it, "--data", "folder:frames", cwd=network.parent)
        assert said.code == code
        (line,) = [line for line in said.err.splitlines() if line.startswith("error:")]
        assert words in line

    def test_have_the_classes_that_are_named(self, network: Path, tmp_path: Path, exported) -> None:
        (tmp_path / "names.txt").write_text("ant\nbee\ncow\n")
        run, _ = exported(network, "folder:frames", "--classes", "names.txt", *FP32)
        assert manifest(run).classes == ["ant", "bee", "cow"]


@pytest.mark.parametrize("layout", ["three splits", "class folders", "table"])
def test_a_student_is_taught_on_it(layout: str, tmp_path: Path, forked) -> None:
    data = "folder:set"
    if layout == "three splits":
        for split, each in (("train", 12), ("valid", 4), ("test", 5)):
            classes_of_three(tmp_path / "set" / split, each)
    else:
        classes_of_three(tmp_path / "set", 20)
    if layout == "table":
        files = sorted((tmp_path / "set").rglob("*.png"))
        rows = [
            json.dumps({"path": str(file.relative_to(tmp_path / "set")), "label": file.parent.name})
            for file in files
        ]
        (tmp_path / "set/labels.jsonl").write_text("\n".join(rows))
        data = "table:set/labels.jsonl"
    short = ["--teacher", "resnet8", "--teacher-epochs", 1, "--stages", "kd", "--epochs", 1]
    said = forked("distill", "--data", data, *short, "--run", "run", cwd=tmp_path)
    assert said.code == 0, said.err
    counts = read_facts(tmp_path / "run/data").counts
    if layout == "three splits":
        expected = {"train": 36, "student_train": 36, "validation": 12, "test": 15}
    else:  # 12 of 60 for the test, 5 of the 48 others for validation
        expected = {"train": 43, "student_train": 43, "validation": 5, "test": 12}
        assert "12 of 60 images, a share of each class, are the test images" in said.err
    assert counts == expected
