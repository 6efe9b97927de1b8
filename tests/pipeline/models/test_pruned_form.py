"""The form of a pruned network, as a file and in a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from foundation.errors import CorruptFileError, MissingFileError, WeightsMismatchError
from pipeline.models.pruned_form import Form, changed_sizes, read_form, reform, sizes_of, write_form
from smskd.checkpoints.files import save_model


def network(width: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.LayerNorm((width, 6, 6)), nn.Flatten(), nn.Linear(36 * width, 2)
    )


@pytest.fixture
def form() -> Form:
    """Of a network that lost half of its channels."""
    narrow = network(2)
    changed = changed_sizes(sizes_of(network()), sizes_of(narrow))
    return Form(narrow.state_dict(), changed, {"made_from": {"share": 0.5}})


def test_only_sizes_that_changed_are_kept(form: Form) -> None:
    assert form.sizes == {
        "0": {"out_channels": 2},
        "1": {"normalized_shape": (2, 6, 6)},
        "3": {"in_features": 72},
    }


def test_a_form_is_read_back_as_it_was_written(form: Form, tmp_path: Path) -> None:
    path = tmp_path / "deep/form.safetensors"
    write_form(path, form)
    again = read_form(path)
    assert again.facts == form.facts
    assert again.tensors.keys() == form.tensors.keys()
    wide, narrow = network(), network(2)
    reform(wide, again, str(path))
    narrow.load_state_dict(form.tensors)
    assert sizes_of(wide) == sizes_of(narrow)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(wide(images), narrow(images))


def test_modules_stay_the_same_objects_and_frozen_parameters_frozen(form: Form) -> None:
    wide = network()
    wide[0].weight.requires_grad_(False)
    modules = list(wide.modules())
    reform(wide, form, "x")
    assert all(one is other for one, other in zip(wide.modules(), modules, strict=True))
    assert [one.requires_grad for one in wide[0].parameters()] == [False, True]


def test_a_form_shares_no_memory_with_the_network(form: Form) -> None:
    wide, kept = network(), form.tensors["0.weight"].clone()
    reform(wide, form, "x")
    with torch.no_grad():
        wide[0].weight.zero_()
    assert torch.equal(form.tensors["0.weight"], kept)


@pytest.mark.parametrize(
    "other",
    [nn.Sequential(nn.Linear(2, 2)), nn.Sequential(*network(), nn.BatchNorm1d(2))],
    ids=["other tensors", "more tensors"],
)
def test_the_form_of_another_architecture_is_refused(form: Form, other: nn.Module) -> None:
    before = sizes_of(other)
    with pytest.raises(WeightsMismatchError, match=r"some\.file: the form of another architecture"):
        reform(other, form, "some.file")
    assert sizes_of(other) == before


@pytest.mark.parametrize("sizes", [{"9": {"a": 1}}, {"0": {"nonsense": 1}}, {"0": {"training": 1}}])
def test_a_form_changes_only_sizes_that_a_module_has(form: Form, sizes: dict) -> None:
    with pytest.raises(WeightsMismatchError):
        reform(network(), Form(form.tensors, sizes, {}), "x")


def test_a_changed_byte_is_told_of(
    form: Form, tmp_path: Path, flip_a_byte: Callable[[Path], None]
) -> None:
    path = tmp_path / "form.safetensors"
    write_form(path, form)
    flip_a_byte(path)
    with pytest.raises(CorruptFileError, match=r"form\.safetensors"):
        read_form(path)


def test_a_file_that_is_no_form_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(MissingFileError, match="no such file"):
        read_form(path)
    save_model(path, network())
    with pytest.raises(CorruptFileError, match="not the form of a network"):
        read_form(path)
