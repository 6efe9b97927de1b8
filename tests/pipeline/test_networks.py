from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from foundation.bundle import Preprocessing
from foundation.errors import MissingFileError, ModelMismatchError
from pipeline.data.facts import DataFacts
from pipeline.networks import new_network, parameter_count, trained_student, trained_teacher
from pipeline.recipe import Recipe
from pipeline.runs import start_run


def facts(size: int = 16, channels: int = 3, classes: int = 4) -> DataFacts:
    preprocessing = Preprocessing(size, size, channels, [0.5] * channels, [0.2] * channels)
    return DataFacts("x", [str(i) for i in range(classes)], preprocessing, {}, [])


def test_weights_are_drawn_from_the_seed_and_the_role_alone() -> None:
    torch.manual_seed(1)
    first = new_network("resnet8", facts(), 0, "student").state_dict()
    torch.manual_seed(2)
    again = new_network("resnet8", facts(), 0, "student").state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for seed, role in ((1, "student"), (0, "teacher")):
        other = new_network("resnet8", facts(), seed, role)
        assert not torch.equal(other.state_dict()["conv1.weight"], first["conv1.weight"])


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    new_network("resnet8", facts(), 0, "student")
    assert torch.equal(torch.rand(3), expected)


def test_a_network_fits_the_channels_and_classes_of_the_data() -> None:
    network = new_network("resnet8", facts(channels=1, classes=6), 0, "student")
    assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("nn.Conv2d(3, 4, 40), nn.Flatten()", "does not run on images of shape (3, 16, 16)"),
        ("nn.Flatten(), nn.Linear(5, num_classes)", "does not run on images"),
        ("nn.Flatten(), nn.Linear(768, 9)", "gives 9 logits, but the data has 4 classes"),
        ("nn.Identity()", "must give logits of shape (N, classes)"),
        ("Raises()", "not for me"),
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
        new_network("misfits:net", facts(), 0, "student")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("load", "role"), [(trained_teacher, "teacher"), (trained_student, "student")]
)
def test_a_network_that_was_not_trained_yet_is_told_of(tmp_path: Path, load, role: str) -> None:
    run = start_run(tmp_path / "x", Recipe())
    with pytest.raises(MissingFileError, match=f"no {role} in this run yet"):
        load(run)


def test_parameters_are_counted() -> None:
    assert parameter_count(torch.nn.Linear(3, 4)) == 16
