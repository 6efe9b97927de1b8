from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from foundation.bundle import Preprocessing
from foundation.errors import (
    MissingFileError,
    ModelMismatchError,
    UnknownNameError,
    WeightsMismatchError,
)
from foundation.files import sha256_of
from pipeline.data.facts import DataFacts
from pipeline.models import build_model, weights_identity
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import start_run
from pipeline.training.networks import (
    NetworkSpec,
    load_weights,
    load_weights_for,
    new_network,
    trained_student,
    trained_teacher,
)
from smskd.checkpoints.files import save_model

SMALL = "torchvision/squeezenet1_1"


def facts(size: int = 16, channels: int = 3, classes: int = 4) -> DataFacts:
    preprocessing = Preprocessing(size, size, channels, [0.5] * channels, [0.2] * channels)
    return DataFacts("x", [str(i) for i in range(classes)], preprocessing, {}, [])


def test_weights_are_drawn_from_the_seed_and_the_role_alone() -> None:
    torch.manual_seed(1)
    first = new_network(NetworkSpec("resnet8"), facts(), 0, "student").state_dict()
    torch.manual_seed(2)
    again = new_network(NetworkSpec("resnet8"), facts(), 0, "student").state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for seed, role in ((1, "student"), (0, "teacher")):
        other = new_network(NetworkSpec("resnet8"), facts(), seed, role)
        assert not torch.equal(other.state_dict()["conv1.weight"], first["conv1.weight"])


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    new_network(NetworkSpec("resnet8"), facts(), 0, "student")
    assert torch.equal(torch.rand(3), expected)


def test_a_network_fits_the_channels_and_classes_of_the_data() -> None:
    network = new_network(NetworkSpec("resnet8"), facts(channels=1, classes=6), 0, "student")
    assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("nn.Conv2d(3, 4, 40), nn.Flatten()", "does not run on images of shape (3, 16, 16)"),
        ("nn.Flatten(), nn.Linear(5, num_classes)", "does not run on images"),
        ("nn.Flatten(), nn.Linear(768, 9)", "gives 9 logits, but the data has 4 classes"),
        ("nn.Conv2d(3, 4, 1)", "must give logits of shape (N, classes)"),
        ("nn.Conv2d(3, 4, 1), Raises()", "not for me"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "misfits", raising=False)
    (tmp_path / "misfits.py").write_text(
        "from torch import nn\n"
        "class Raises(nn.Module):\n"
        "    def forward(self, x):\n        raise TypeError('not for me')\n"
        f"def net(num_classes):\n    return nn.Sequential({body})\n"
    )
    with pytest.raises(ModelMismatchError) as refused:
        new_network(NetworkSpec("misfits:net"), facts(), 0, "student")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("load", "role"), [(trained_teacher, "teacher"), (trained_student, "student")]
)
def test_a_network_that_was_not_trained_yet_is_told_of(tmp_path: Path, load, role: str) -> None:
    run = start_run(tmp_path / "x", Recipe())
    with pytest.raises(MissingFileError, match=f"no {role} in this run yet"):
        load(run)


def test_a_network_may_see_images_of_its_own_size() -> None:
    with pytest.raises(ModelMismatchError) as refused:
        new_network(NetworkSpec("torchvision/vit_b_32"), facts(size=32), 0, "teacher")
    for words in ("'torchvision/vit_b_32'", "(3, 32, 32)", "Expected 224", "data.image_size"):
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    own = replace(facts(size=32), teachers_own=facts(size=224).preprocessing)
    new_network(NetworkSpec("torchvision/vit_b_32"), own, 0, "teacher")


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights for 1000 classes, where torchvision keeps what it fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    tensors = build_model(SMALL, 1000, 3).state_dict()
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(tensors, tmp_path / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth")
    return tensors


def test_a_librarys_weights_are_loaded_by_name(published: dict[str, torch.Tensor]) -> None:
    network = build_model(SMALL, 1000, 3)
    loaded = load_weights(NetworkSpec(SMALL, "torchvision:IMAGENET1K_V1"), network)
    assert loaded.classes is not None
    assert (len(loaded.classes), loaded.classes[340]) == (1000, "zebra")
    found = network.state_dict()
    assert all(torch.equal(found[name], published[name]) for name in published)


def test_a_librarys_weights_for_other_classes_are_refused_with_both_counts(
    published: dict[str, torch.Tensor],
) -> None:
    network = build_model(SMALL, 10, 3)
    with pytest.raises(WeightsMismatchError, match=r"know 1000 classes.*has 10") as refused:
        load_weights(NetworkSpec(SMALL, "torchvision:DEFAULT"), network)
    assert str(refused.value).startswith("torchvision:DEFAULT: ")


def test_weights_of_a_known_order_are_told_of_with_it(published) -> None:
    """Folders of a few of ImageNet's classes, and weights for all of them."""
    network, spec = build_model(SMALL, 2, 3), NetworkSpec(SMALL, "torchvision:DEFAULT")
    with pytest.raises(WeightsMismatchError, match=r"know 1000 .* --classes imagenet1k"):
        load_weights_for(spec, network, ["n01440764", "n02391049"])
    for others in (["cat food", "dog food"], ["0", "1"]):  # numbers are in any order
        with pytest.raises(WeightsMismatchError, match=r"trained for$"):
            load_weights_for(spec, network, others)


def test_weights_are_loaded_from_a_file(tmp_path: Path) -> None:
    given, network = build_model("resnet8", 4, 1), build_model("resnet8", 4, 1)
    save_model(tmp_path / "t.safetensors", given)
    load_weights(NetworkSpec("resnet8", str(tmp_path / "t.safetensors")), network)
    assert torch.equal(network.fc.weight, given.fc.weight)


def test_a_misspelt_library_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'torchvision'"):
        load_weights(NetworkSpec(SMALL, "torchvison:DEFAULT"), torch.nn.Identity())


@pytest.mark.parametrize("name", ["t.pt", "some:file.pt"])
def test_a_file_that_is_not_there_is_told_of(name: str) -> None:
    with pytest.raises(MissingFileError, match=f"{name}: no such file"):
        load_weights(NetworkSpec("resnet8", name), torch.nn.Identity())


def test_weights_are_known_by_what_a_file_holds_or_by_their_name(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    save_model(path, torch.nn.Linear(2, 2))
    assert weights_identity(str(path)) == sha256_of(path)
    assert weights_identity("torchvision:DEFAULT") == "torchvision:DEFAULT"
    assert weights_identity(str(tmp_path / "no.pt")) is None
    assert weights_identity(None) is None


GOOGLENET = NetworkSpec("torchvision/googlenet", settings={"init_weights": False})


def test_weights_of_ones_own_are_of_a_network_that_does_not_transform_its_input(
    tmp_path: Path,
) -> None:
    """As torchvision makes it, side heads and all; the logits are the user's own."""
    theirs = torchvision.models.googlenet(num_classes=4, aux_logits=True, init_weights=False)
    torch.save(theirs.state_dict(), tmp_path / "own.pt")
    named = replace(GOOGLENET, weights=str(tmp_path / "own.pt"))
    lines: list[str] = []
    network = new_network(named, facts(size=48), 0, "student", say=lines.append)
    load_weights(named, network, lines.append)
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(network.eval()(images), theirs.eval()(images))
    assert "transform_input = false" in lines[0]
    assert "set student.settings.transform_input = true" in lines[0]
    assert "passed over: aux1.* (" in lines[1]
    assert "aux2.* (" in lines[1]


@pytest.mark.parametrize(
    ("changes", "transforms", "words"),
    [
        ({"weights": "torchvision:DEFAULT"}, True, ["as these published weights want it"]),
        ({}, False, []),
        (
            {"weights": "own.pt", "settings": {"transform_input": True, "init_weights": False}},
            True,
            [],
        ),
    ],
)
def test_settings_that_no_weights_carry_follow_the_weights_and_the_recipe(
    changes: dict[str, Any], transforms: bool, words: list[str]
) -> None:
    lines: list[str] = []
    named = replace(GOOGLENET, **changes)
    network = new_network(named, facts(size=48), 0, "teacher", say=lines.append)
    assert network.transform_input is transforms
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))


def test_what_a_checkpoint_was_saved_as_is_held_against_the_models_name(tmp_path: Path) -> None:
    network = build_model("resnet8", 4, 1)
    for arch, told in (("resnet8", False), ("wide_resnet8", False), ("resnet20_cbam", True)):
        content = {"state_dict": network.state_dict(), "arch": arch}
        torch.save(content, tmp_path / "t.pt")
        lines: list[str] = []
        load_weights(NetworkSpec("resnet8", str(tmp_path / "t.pt")), network, lines.append)
        assert any("was saved as of" in line for line in lines) is told


def test_published_weights_are_one_set() -> None:
    named = NetworkSpec(SMALL, "torchvision:DEFAULT", "model_ema")
    with pytest.raises(WeightsMismatchError, match="leave out weights_key"):
        load_weights(named, torch.nn.Identity())
