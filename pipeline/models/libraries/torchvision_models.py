"""torchvision's classifiers: "torchvision/resnet18" and the like.

The library takes seconds to import, so it is imported once one of its names is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from foundation.errors import unknown_name
from pipeline.models import LIBRARIES, Library
from pipeline.models.libraries._weights import fetched, reading
from pipeline.models.preparation import SOURCES, Preparation

if TYPE_CHECKING:
    from torch import Tensor, nn

# These two have heads in the middle, whose logits they give too, unless told otherwise. And they
# may take RGB into another scale themselves, as their published weights want it.
_WITH_SIDE_HEADS = ("googlenet", "inception_v3")
_TRANSFORM = "transform_input"
_SIDE_HEADS = ("AuxLogits.", "aux1.", "aux2.")


def names() -> list[str]:
    """All classifiers; detection, segmentation, video and quantised models are left out."""
    models = _torchvision()
    listed: list[str] = models.list_models(module=models)
    return listed


def build(name: str, num_classes: int, in_channels: int, **settings: Any) -> nn.Module:
    """A fresh network; for other images than RGB its first convolution is a new one.

    It is built as torchvision builds it for weights of one's own; see `needed`.
    """
    if name in _WITH_SIDE_HEADS:
        settings = {"aux_logits": False, "init_weights": True, **settings}
    network: nn.Module = _torchvision().get_model(
        name, weights=None, num_classes=num_classes, **settings
    )
    if in_channels != 3:
        _take_channels(network, in_channels)
    return network


def weights(name: str) -> list[str]:
    """Names of a model's pretrained weights, "DEFAULT" first."""
    published = _torchvision().get_model_weights(name).__members__
    return sorted(published, key=lambda weights_name: (weights_name != "DEFAULT", weights_name))


def fetch(name: str, weights_name: str) -> dict[str, Tensor]:
    """The tensors of pretrained weights."""
    models = _torchvision()
    published = models.get_model_weights(name)[weights_name]
    # Through torchvision's own builder, which knows the older names in some of its files.
    with reading(fetched(published.url)):
        network = models.get_model(name, weights=published)
    tensors: dict[str, Tensor] = network.state_dict()
    return {key: tensors[key] for key in tensors if not key.startswith(_SIDE_HEADS)}


def needed(name: str, weights_name: str) -> dict[str, Any]:
    """Settings of the builder's that it changes for pretrained weights."""
    models = _torchvision()
    published = models.get_model_weights(name).__members__
    if weights_name not in published:
        return {}
    if name in _WITH_SIDE_HEADS:
        return {_TRANSFORM: True}
    if name.startswith("vit_"):
        return {"image_size": published[weights_name].meta["min_size"][0]}
    return (
        {"input_size": published[weights_name].meta["min_size"]}
        if name.startswith("maxvit")
        else {}
    )


def unstored(name: str) -> tuple[str, ...]:
    """Settings that no weights carry."""
    return (_TRANSFORM,) if name in _WITH_SIDE_HEADS else ()


def preparation(name: str, weights_name: str) -> Preparation:
    """How the images were prepared that published weights were trained on."""
    return _preparation_of(_torchvision().get_model_weights(name)[weights_name])


def classes(name: str, weights_name: str) -> list[str]:
    """The names of the classes that published weights know."""
    published = _torchvision().get_model_weights(name)[weights_name]
    return list(published.meta["categories"])


@SOURCES.register("torchvision")
def preparation_named(name: str, model: str) -> Preparation:
    """The same by name: of the weights of a torchvision model, "IMAGENET1K_V1", or of any model,
    "ResNet50_Weights.IMAGENET1K_V1" or "resnet50".

    Raises:
        UnknownNameError: when there are no such weights.
    """
    models = _torchvision()
    own = model.removeprefix("torchvision/") if model.startswith("torchvision/") else None
    if "." in name:
        try:
            return _preparation_of(models.get_weight(name))
        except (KeyError, ValueError):
            raise unknown_name(
                "weights of torchvision", name, [str(weights) for weights in _all_weights(own)]
            ) from None
    if name in names():
        return preparation(name, "DEFAULT")
    known = weights(own) if own in names() else []
    if own is None or name not in known:
        raise unknown_name(
            f"weights of {model}" if own else "model of torchvision", name, known or names()
        )
    return preparation(own, name)


def _all_weights(name: str | None) -> list[Any]:
    models = _torchvision()
    return [*models.get_model_weights(name)] if name in names() else []


def _preparation_of(published: Any) -> Preparation:
    seen = published.transforms()
    height, width = _both(seen.crop_size)
    return Preparation(
        size=(height, width),
        channels=3,
        fit="crop",
        resize_to=_both(seen.resize_size),
        resize=seen.interpolation.value,
        antialias=bool(seen.antialias),
        mean=tuple(seen.mean),
        std=tuple(seen.std),
        source=f"torchvision's {published}",
    )


def _both(size: list[int]) -> tuple[int, int]:
    """Height and width of a size that torchvision writes as one number or two."""
    return size[0], size[-1]


def _torchvision() -> Any:
    return importlib.import_module("torchvision.models")


def _take_channels(network: nn.Module, channels: int) -> None:
    """Put a fresh convolution of the same shape in the place of the first one."""
    from torch import nn  # noqa: PLC0415 - that a library is known by name needs none

    place, old = next(
        (place, module)
        for place, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    )
    fresh = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        old.groups,
        bias=old.bias is not None,
        padding_mode=old.padding_mode,
    )
    network.set_submodule(place, fresh)


LIBRARIES.register("torchvision")(
    Library(names, build, weights, fetch, needed, unstored, preparation, classes)
)
