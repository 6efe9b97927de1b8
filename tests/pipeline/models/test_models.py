from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from foundation.errors import ModelMismatchError, UnknownNameError
from pipeline.models import MODELS, build_model, find_factory


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
