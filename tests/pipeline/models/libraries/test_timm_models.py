from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from foundation.errors import MissingFileError, ModelMismatchError, UnknownNameError
from pipeline.models import build_model, find_factory, pretrained_tensors

SMALL = "timm/test_resnet"
FILE = "test_resnet.r160_in1k.safetensors"

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")


def test_where_timm_is_not_installed_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelMismatchError, match="pip install timm") as refused:
        find_factory(SMALL)
    assert "\n" not in str(refused.value)


@needs_timm
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "size"), [("test_resnet", 32), ("test_vit", 160), ("mobilenetv3_small_050", 32)]
)
def test_a_model_gives_a_logit_a_class(name: str, size: int, channels: int) -> None:
    model = build_model(f"timm/{name}", 7, channels).eval()
    with torch.no_grad():
        assert model(torch.randn(2, channels, size, size)).shape == (2, 7)


@needs_timm
def test_an_unknown_name_is_told_with_the_nearest_and_without_the_other_thousand() -> None:
    with pytest.raises(UnknownNameError, match="'timm/vit_tiny_patch16_224'") as refused:
        find_factory("timm/vit_tiny_patch16_225")
    assert len(str(refused.value)) < 200


@needs_timm
@pytest.mark.parametrize("which", ["pretrained", "r160_in1k"])
def test_weights_in_the_cache_are_loaded(cache: Path, which: str) -> None:
    published = build_model(SMALL, 1000, 3).state_dict()
    save_file(published, cache / FILE)
    found = pretrained_tensors(f"timm:{which}", SMALL)
    assert found.keys() == published.keys()
    assert all(torch.equal(found[name], published[name]) for name in found)


@needs_timm
@pytest.mark.slow
def test_weights_in_the_hubs_own_cache_are_loaded(tmp_path: Path) -> None:
    """In a process of its own, for the hub reads its place when it is imported."""
    published = build_model(SMALL, 1000, 3).state_dict()
    kept = tmp_path / "hub/models--timm--test_resnet.r160_in1k"
    (kept / "snapshots/1").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text("1")
    save_file(published, kept / "snapshots/1/model.safetensors")
    code = (
        "import json; from pipeline.models import pretrained_tensors as tensors\n"
        f"print(json.dumps(tensors('timm:pretrained', {SMALL!r})['fc.bias'].tolist()))"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(said.stdout) == published["fc.bias"].tolist()
    assert not (tmp_path / "hub/checkpoints").exists()


@needs_timm
def test_weights_that_there_are_none_of_are_told_with_those_that_there_are() -> None:
    with pytest.raises(UnknownNameError, match="pretrained, r160_in1k"):
        pretrained_tensors("timm:r161_in1k", SMALL)


@needs_timm
def test_without_a_network_the_file_and_its_address_are_named(
    cache: Path, no_network: None
) -> None:
    with pytest.raises(MissingFileError) as refused:
        pretrained_tensors("timm:pretrained", SMALL)
    assert str(cache / FILE) in str(refused.value)
    assert "timm/test_resnet.r160_in1k/resolve/main/model.safetensors" in str(refused.value)
