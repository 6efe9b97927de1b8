"""Models, one family a file. Importing a file registers its models.

A model is a factory: see `Factory`. Besides the registered ones, a recipe may name any
callable as "package.module:factory".
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from foundation.errors import ModelMismatchError
from foundation.registry import Registry

Factory = Callable[..., nn.Module]
"""Makes a network: called with `num_classes`, and with `in_channels` where it takes that."""

MODELS: Registry[Factory] = Registry("model", "pipeline.models.families")


def build_model(name: str, num_classes: int, in_channels: int, where: str = "") -> nn.Module:
    """A fresh network.

    Args:
        name: a registered model, or "package.module:factory".
        num_classes: number of logits.
        in_channels: 1 for grey images, 3 for RGB.
        where: the place of the name in the recipe, for messages.

    Raises:
        UnknownNameError: when there is no such model.
        ModelMismatchError: when the factory cannot be found or does not give a network.
    """
    factory = find_factory(name, where)
    asked = {"num_classes": num_classes, "in_channels": in_channels}
    taken = {key: value for key, value in asked.items() if _takes(factory, key)}
    try:
        model = factory(**taken)
    except Exception as error:
        raise ModelMismatchError(
            f"model {name!r}: its factory failed with {taken}: {error}"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelMismatchError(
            f"model {name!r}: its factory gave a {type(model).__name__}, not a torch.nn.Module"
        )
    return model


def find_factory(name: str, where: str = "") -> Factory:
    """The factory that a name stands for; see `build_model`."""
    module_name, colon, attribute = name.partition(":")
    if not colon:
        return MODELS.get(name, where)
    at = f"{where}: " if where else ""
    try:
        factory: Any = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelMismatchError(
            f"{at}model {name!r}: {error}; write it as package.module:factory, "
            "importable from the current folder or the environment"
        ) from error
    if not callable(factory):
        raise ModelMismatchError(f"{at}model {name!r}: {attribute} cannot be called")
    return factory  # type: ignore[no-any-return]


def _takes(factory: Factory, keyword: str) -> bool:
    parameters = inspect.signature(factory).parameters
    if keyword in parameters:
        return True
    # A factory with **kwargs, as torchvision's, passes num_classes on but knows no in_channels.
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return takes_any and keyword == "num_classes"
