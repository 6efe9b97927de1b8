from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from foundation.errors import ModelMismatchError, UnknownNameError, WeightsMismatchError
from pipeline.models import (
    LIBRARIES,
    MODELS,
    build_model,
    find_factory,
    names_weights,
    pretrained_tensors,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder of one's own, with Python's imports as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize("channels", [1, 3])
def test_every_registered_model_gives_a_logit_a_class(name: str, channels: int) -> None:
    model = build_model(name, 7, channels).eval()
    with torch.no_grad():
        logits = model(torch.randn(2, channels, 32, 32))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def test_a_factory_of_another_library_works() -> None:
    model = build_model("torchvision.models:resnet18", 7, 3)
    assert model.fc.out_features == 7


def test_a_factory_in_a_file_of_the_current_folder_works(here: Path) -> None:
    (here / "my_nets.py").write_text(
        "from torch import nn\n"
        "def tiny(num_classes, in_channels=3):\n"
        "    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    model = build_model("my_nets:tiny", 4, 1)
    assert model(torch.zeros(2, 1, 5, 5)).shape == (2, 4)


def test_a_file_of_the_current_folder_does_not_hide_a_library(here: Path) -> None:
    for folder, answer in (("installed", "right"), (".", "wrong")):
        (here / folder).mkdir(exist_ok=True)
        (here / folder / "some_library.py").write_text(f"def net():\n    return {answer!r}\n")
    sys.path.append(str(here / "installed"))
    assert find_factory("some_library:net")() == "right"


def test_a_factory_is_asked_only_for_what_it_takes(here: Path) -> None:
    (here / "plain_nets.py").write_text(
        "from torch import nn\ndef fixed():\n    return nn.Linear(2, 3)\n"
    )
    assert isinstance(build_model("plain_nets:fixed", 10, 1), nn.Linear)


def test_an_unknown_model_is_told_with_its_place_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"here: unknown model 'resnet21'.*resnet20"):
        find_factory("resnet21", "here")


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("", "no_such_module:net", "No module named 'no_such_module'"),
        ("", "broken_nets:net", "no attribute 'net'"),
        ("def net(:", "broken_nets:net", "SyntaxError"),
        ("raise RuntimeError('not today')", "broken_nets:net", "not today"),
        ("net = 3", "broken_nets:net", "cannot be called"),
        ("", ":net", "Empty module name"),
        ("", ".broken_nets:net", "relative"),
    ],
)
def test_a_factory_that_cannot_be_found_is_told_of(
    here: Path, source: str, name: str, words: str
) -> None:
    (here / "broken_nets.py").write_text(source)
    with pytest.raises(ModelMismatchError) as refused:
        find_factory(name, "x.toml line 3, teacher.model")
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"x.toml line 3, teacher.model: model {name!r}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def net(num_classes):\n    raise KeyError('two\\nlines')", "KeyError"),
        ("def net(num_classes):\n    return num_classes", "gave a int, not a torch.nn.Module"),
        ("def net(num_classes, depth):\n    pass", "'depth'"),
        ("net = dict", "no signature"),
        ("net = type", "failed"),
    ],
)
def test_a_factory_that_gives_no_network_is_told_of(here: Path, source: str, words: str) -> None:
    (here / "odd_nets.py").write_text(source)
    with pytest.raises(ModelMismatchError, match="model 'odd_nets:net'") as refused:
        build_model("odd_nets:net", 10, 3)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_library_is_told_with_its_place_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"here: unknown model library.*'torchvision'\?"):
        find_factory("torchvison/resnet18", "here")


def test_an_error_of_ours_within_a_factory_stays_as_it_is(here: Path) -> None:
    (here / "own_nets.py").write_text(
        "from foundation.errors import UnknownNameError\n"
        "def net():\n    raise UnknownNameError('as it is')\n"
    )
    with pytest.raises(UnknownNameError, match=r"^as it is$"):
        build_model("own_nets:net", 10, 3)


def test_libraries_are_imported_when_one_of_their_names_is_asked_for() -> None:
    code = (
        "import sys\n"
        "from pipeline.models import LIBRARIES, MODELS, build_model, find_factory, names_weights\n"
        "MODELS.names(), LIBRARIES.names(), build_model('resnet8', 10, 3), find_factory('vgg8')\n"
        "names_weights('torchvision:DEFAULT'), names_weights('x.pt')\n"
        "print(sorted({'torchvision', 'timm'} & set(sys.modules)))\n"
        "find_factory('torchvision/resnet18')\n"
        "print(sorted({'torchvision', 'timm'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["[]", "['torchvision']"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("torchvision:DEFAULT", True), ("timm:pretrained", True), ("weights.pt", False),
        ("torchvision", False), ("torchvision/resnet18.pt", False), ("C:/weights.pt", False),
    ],
)  # fmt: skip
def test_weights_are_told_from_files_by_their_library(given: str, named: bool) -> None:
    assert names_weights(given) == named


@pytest.mark.parametrize(
    "model", ["resnet8", "timm/resnet18", "torchvision", "torchvision.models:resnet18"]
)
def test_weights_of_a_library_are_for_its_own_models(model: str) -> None:
    with pytest.raises(WeightsMismatchError) as refused:
        pretrained_tensors("torchvision:DEFAULT", model)
    assert str(refused.value) == (
        f"weights 'torchvision:DEFAULT' are for models of torchvision, but the model is {model!r}; "
        "`compress models torchvision/` lists those"
    )


def test_weights_that_a_model_has_not_are_told_with_those_that_it_has() -> None:
    with pytest.raises(UnknownNameError, match=r"weights of torchvision/resnet18.*IMAGENET1K_V1"):
        pretrained_tensors("torchvision:IMAGENET1K_V2", "torchvision/resnet18")


def test_every_library_names_what_it_builds(here: Path) -> None:
    pytest.importorskip("torchvision")
    library = LIBRARIES.get("torchvision")
    assert "resnet18" in library.names()
    assert library.build("resnet18", 4, 3).fc.out_features == 4
