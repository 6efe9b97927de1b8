"""Models of timm: "timm/vit_tiny_patch16_224" and the like, where timm is installed."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import ModelMismatchError, unknown_name
from pipeline.models import LIBRARIES, Library
from pipeline.models.libraries._weights import fetched, reading
from pipeline.models.preparation import SOURCES, Preparation

if TYPE_CHECKING:
    from torch import Tensor, nn

PRETRAINED = "pretrained"


def names() -> list[str]:
    """All models; a tag, which names weights, is not part of a model's name."""
    listed: list[str] = _timm().list_models()
    return listed


def build(name: str, num_classes: int, in_channels: int, **settings: Any) -> nn.Module:
    """A fresh network."""
    network: nn.Module = _timm().create_model(
        name, num_classes=num_classes, in_chans=in_channels, **settings
    )
    return network


def weights(name: str) -> list[str]:
    """Names of a model's pretrained weights: "pretrained" for timm's choice, then the tags."""
    tags = sorted(tag for tag, config in _configs(name).items() if config.has_weights)
    return [PRETRAINED, *tags] if tags else []


def fetch(name: str, tag: str) -> dict[str, Tensor]:
    """The tensors of pretrained weights."""
    timm = _timm()
    if tag == PRETRAINED:
        tag = timm.models.get_pretrained_cfg(name).tag
    file = _file(_configs(name)[tag])
    # Through timm's own builder, which translates the names in files of other projects.
    with reading(file):
        network = timm.create_model(
            f"{name}.{tag}", pretrained=True, pretrained_cfg_overlay={"file": str(file)}
        )
    tensors: dict[str, Tensor] = network.state_dict()
    return tensors


def preparation(name: str, tag: str) -> Preparation:
    """How the images were prepared that published weights were trained on."""
    if tag == PRETRAINED:
        config = _timm().models.get_pretrained_cfg(name)
        tag = config.tag
    else:
        config = _configs(name)[tag]
    return _preparation_of(config, f"{name}.{tag}" if tag else name)


def classes(name: str, tag: str) -> list[str]:
    """The WordNet ids of the classes that published weights know; none of others than ImageNet's,
    whose number timm knows them by."""
    timm = _timm()
    config = timm.models.get_pretrained_cfg(name) if tag == PRETRAINED else _configs(name)[tag]
    subset = timm.data.infer_imagenet_subset(config)
    return list(timm.data.ImageNetInfo(subset).label_names()) if subset else []


@SOURCES.register("timm")
def preparation_named(name: str, model: str) -> Preparation:
    """The same by name: of a model, "resnet50" or "resnet50.a1_in1k", or of the weights of the
    model that it is for, "a1_in1k" or "pretrained".

    Raises:
        UnknownNameError: when there are no such weights.
    """
    base, _, tag = name.partition(".")
    if base in names():
        if tag and tag not in _configs(base):
            raise unknown_name(f"weights of timm/{base}", tag, list(_configs(base)))
        return preparation(base, tag or PRETRAINED)
    own = model.removeprefix("timm/")
    if own != model and name in weights(own):
        return preparation(own, name)
    raise unknown_name("model of timm", name, names())


_FITS = {"center": "crop", "squash": "squash", "border": "pad"}


def _preparation_of(config: Any, name: str) -> Preparation:
    channels, height, width = config.input_size
    share, mean = config.crop_pct or 1.0, tuple(config.mean)
    red, green, blue = (round(255 * value) for value in (*mean, *mean, *mean)[:3])
    return Preparation(
        size=(height, width),
        channels=channels,
        fit=_FITS[config.crop_mode],
        resize_to=(math.floor(height / share), math.floor(width / share)),
        resize=config.interpolation,
        antialias=True,
        pad_colour=(red, green, blue),
        mean=mean,
        std=tuple(config.std),
        source=f"timm's {name}",
    )


def _configs(name: str) -> dict[str, Any]:
    """What timm knows of each of a model's pretrained weights, by tag."""
    configs = _timm().models.get_arch_pretrained_cfgs(name)
    return {full.partition(".")[2]: config for full, config in configs.items()}


def _file(config: Any) -> Path:
    """The file of pretrained weights: from the hub's cache, from torch's, or fetched."""
    if not config.hf_hub_id:
        return fetched(config.url)
    hub = importlib.import_module("huggingface_hub")
    repository, name = config.hf_hub_id, config.hf_hub_filename or "model.safetensors"
    cached = hub.try_to_load_from_cache(repository, name)
    if isinstance(cached, str):
        return Path(cached)
    # The hub's own client would ask again and again for a minute where there is no network.
    file_name = f"{repository.rpartition('/')[2]}{Path(name).suffix}"
    return fetched(hub.hf_hub_url(repository, name), file_name)


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise ModelMismatchError(
            f"models of timm need it installed ({error}); pip install timm"
        ) from error


LIBRARIES.register("timm")(
    Library(names, build, weights, fetch, preparation=preparation, classes=classes)
)
