from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from foundation.errors import DataLayoutError, ModelMismatchError
from pipeline.data import Dataset
from pipeline.data.class_order import class_order
from pipeline.data.images import ArrayImages
from pipeline.models import classes_of
from pipeline.recipe.sections.data import DataRecipe
from pipeline.recipe.sections.networks import StudentRecipe
from pipeline.training.network_classes import NetworkClasses, network_classes

FRAMES = DataRecipe(name="folder:frames")


def of(*classes: str) -> Dataset:
    images = ArrayImages(np.zeros((2, 1, 1, 3), np.uint8), np.array([0, 1]))
    return Dataset(None, images, list(classes))


class TestImagesWithoutLabels:
    def test_take_the_classes_that_the_network_tells(self) -> None:
        dataset = NetworkClasses("net.onnx", ("cat", "dog"), 2).given_to(of(), FRAMES)
        assert dataset.classes == ["cat", "dog"]
        assert dataset.remarks[-1].startswith("2 classes are the network's own")

    def test_or_their_numbers(self) -> None:
        dataset = NetworkClasses("net.onnx", count=3).given_to(of(), FRAMES)
        assert dataset.classes == ["0", "1", "2"]
        assert "the network's logits by their numbers" in dataset.remarks[-1]

    def test_or_none_where_nobody_tells(self) -> None:
        with pytest.raises(DataLayoutError, match=r"w\.pt does not tell its classes; .*--classes"):
            NetworkClasses("w.pt").given_to(of(), FRAMES)


class TestImagesWithLabels:
    def test_keep_their_classes(self) -> None:
        dataset = NetworkClasses("net.onnx", ("x", "y"), 2).given_to(of("cat", "dog"), FRAMES)
        assert (dataset.classes, dataset.remarks) == (["cat", "dog"], ())

    def test_of_another_number_of_classes_are_refused_with_the_order_they_are_of(self) -> None:
        network = NetworkClasses("net.onnx", count=1000)
        with pytest.raises(ModelMismatchError, match=r"1000 logits, .* 2 classes; .* --classes im"):
            network.given_to(of("tench", "n02391049"), FRAMES)
        with pytest.raises(ModelMismatchError, match=r"2 classes; give the data that it was"):
            network.given_to(of("cat food", "dog food"), FRAMES)

    def test_in_another_order_than_a_known_one_are_told_with_figures(self) -> None:
        names = sorted(class_order("imagenet1k").classes)
        network = NetworkClasses("net.onnx", count=1000)
        (line,) = network.given_to(of(*names), FRAMES).remarks
        moved = sum(a != b for a, b in zip(names, class_order("imagenet1k").classes, strict=True))
        assert f"in another order, at {moved} of 1000 places: class 0 is" in line
        assert "add --classes imagenet1k" in line
        assert network.given_to(of(*class_order("imagenet1k").ids), FRAMES).remarks == ()


def test_a_graph_tells_its_classes_and_how_many(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [result])
    model = helper.make_model(graph)
    helper.set_model_props(model, {"classes": json.dumps(["cat", "dog"])})
    path = str(tmp_path / "a.onnx")
    onnx.save(model, path)
    assert network_classes(StudentRecipe(model=path)) == NetworkClasses(path, ("cat", "dog"), 2)


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("torchvision/resnet18", "torchvision:IMAGENET1K_V1"),
        ("timm/resnet18", "timm:a1_in1k"),
        ("timm/resnet18", "timm:pretrained"),
    ],
)
def test_weights_of_a_library_tell_theirs(model: str, weights: str) -> None:
    order = class_order("imagenet1k")
    assert classes_of(model, weights) in (order.classes, order.ids)
    assert network_classes(StudentRecipe(model=model, weights=weights)).count == 1000


def test_other_weights_tell_nothing_beforehand() -> None:
    assert classes_of("resnet8", "w.pt") == []
    assert network_classes(StudentRecipe(model="resnet8", weights="w.pt")) == NetworkClasses("w.pt")
