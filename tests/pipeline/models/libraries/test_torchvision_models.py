from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from foundation.errors import CorruptFileError, MissingFileError, UnknownNameError
from pipeline.models import (
    build_model,
    find_factory,
    pretrained_tensors,
    settings_for,
    unstored_settings,
)
from pipeline.models.libraries.torchvision_models import names, weights

SMALL = "torchvision/squeezenet1_1"
FILE = "squeezenet1_1-b8a52dc0.pth"


def test_names_are_those_of_classifiers() -> None:
    assert {"resnet18", "vit_b_16", "mobilenet_v3_small", "inception_v3"} <= set(names())
    assert not [name for name in names() if "rcnn" in name or "deeplab" in name or "r3d" in name]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 32), ("mobilenet_v3_small", 32), ("squeezenet1_1", 32), ("densenet121", 32),
        ("googlenet", 32), ("inception_v3", 75), ("swin_t", 32),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_model_gives_a_logit_a_class_for_any_channels(
    name: str, size: int, channels: int
) -> None:
    model = build_model(f"torchvision/{name}", 7, channels)
    model.eval()
    with torch.no_grad():
        assert model(torch.randn(1, channels, size, size)).shape == (1, 7)


def test_in_training_too_there_are_logits_alone() -> None:
    model = build_model("torchvision/googlenet", 7, 3)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_the_first_convolution_stays_as_it_was_but_for_its_inputs() -> None:
    old = models.resnet18().conv1
    new = build_model("torchvision/resnet18", 7, 1).conv1
    assert isinstance(new, nn.Conv2d)
    assert new.weight.shape == (64, 1, 7, 7)
    settings = ("out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode")
    assert all(getattr(new, key) == getattr(old, key) for key in settings)
    assert (new.bias is None) == (old.bias is None)


def test_an_unknown_name_is_told_with_its_place_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as refused:
        find_factory("torchvision/resnet19", "x.toml line 3")
    assert str(refused.value) == (
        "x.toml line 3: unknown model 'torchvision/resnet19', did you mean "
        "'torchvision/resnet18'? `compress models torchvision/` lists all"
    )


def test_the_librarys_choice_of_weights_comes_first() -> None:
    assert weights("resnet50") == ["DEFAULT", "IMAGENET1K_V1", "IMAGENET1K_V2"]


def test_weights_in_the_cache_are_loaded(cache: Path) -> None:
    published = models.squeezenet1_1().state_dict()
    torch.save(published, cache / FILE)
    for which in ("DEFAULT", "IMAGENET1K_V1"):
        found = pretrained_tensors(f"torchvision:{which}", SMALL)
        assert found.keys() == published.keys()
        assert all(torch.equal(found[name], published[name]) for name in found)


@pytest.mark.parametrize(
    ("name", "file"),
    [("googlenet", "googlenet-1378be20.pth"), ("inception_v3", "inception_v3_google-0cc3c7bd.pth")],
)
def test_weights_with_side_heads_are_loaded_without_these(
    cache: Path, name: str, file: str
) -> None:
    published = models.get_model(name, init_weights=False, aux_logits=True).state_dict()
    torch.save(published, cache / file)
    settings = settings_for(f"torchvision/{name}", "torchvision:DEFAULT")
    model = build_model(f"torchvision/{name}", 1000, 3, settings=settings)
    model.load_state_dict(pretrained_tensors("torchvision:DEFAULT", f"torchvision/{name}"))
    assert torch.equal(model.fc.weight, published["fc.weight"])
    assert model.transform_input, "as the published weights want it"


def test_settings_that_no_weights_carry_are_those_that_the_library_itself_takes() -> None:
    for name in ("googlenet", "inception_v3"):
        assert settings_for(f"torchvision/{name}", "mine.pt") == {}
        assert settings_for(f"torchvision/{name}", None) == {}
        assert unstored_settings(f"torchvision/{name}") == ("transform_input",)
    sharp = settings_for("torchvision/vit_b_16", "torchvision:IMAGENET1K_SWAG_E2E_V1")
    assert sharp == {"image_size": 384}
    assert settings_for("torchvision/resnet18", "torchvision:DEFAULT") == {}
    assert unstored_settings("torchvision/resnet18") == ()


def test_weights_with_older_names_are_loaded(cache: Path) -> None:
    published = models.densenet121().state_dict()
    older = {
        re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", name): tensor
        for name, tensor in published.items()
        if "num_batches" not in name
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    torch.save(older, cache / "densenet121-a639ec97.pth")
    found = pretrained_tensors("torchvision:DEFAULT", "torchvision/densenet121")
    assert found.keys() == published.keys()


def test_without_a_network_the_file_and_its_address_are_named(
    cache: Path, no_network: None
) -> None:
    with pytest.raises(MissingFileError) as refused:
        pretrained_tensors("torchvision:DEFAULT", SMALL)
    assert str(cache / FILE) in str(refused.value)
    assert f"https://download.pytorch.org/models/{FILE}" in str(refused.value)


def test_code_in_a_file_is_not_run(cache: Path, trap) -> None:
    torch.save({"classifier.1.weight": trap}, cache / FILE)
    with pytest.raises(CorruptFileError, match=FILE):
        pretrained_tensors("torchvision:DEFAULT", SMALL)
    assert not trap.sprung.exists()


def test_a_file_of_another_network_is_told_of(cache: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, cache / FILE)
    with pytest.raises(CorruptFileError, match=FILE) as refused:
        pretrained_tensors("torchvision:DEFAULT", SMALL)
    assert "\n" not in str(refused.value)
