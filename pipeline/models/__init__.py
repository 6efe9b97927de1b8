"""Models, one family a file. Importing a file registers its models.

A model is a factory: see `Factory`. Besides the registered ones, a recipe may name any
callable as "package.module:factory".
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
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
    try:
        model = factory(**{key: value for key, value in asked.items() if _takes(factory, key)})
    except Exception as error:
        raise ModelMismatchError(
            f"model {name!r}: its factory failed when asked for {asked}: {_first_line(error)}"
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
        factory: Any = getattr(_import(module_name), attribute)
    except Exception as error:  # a user's module may fail in any way
        raise ModelMismatchError(
            f"{at}model {name!r}: {_first_line(error)}; write it as package.module:factory, "
            "importable from the current folder or the environment"
        ) from error
    if not callable(factory):
        raise ModelMismatchError(f"{at}model {name!r}: {attribute} cannot be called")
    return factory  # type: ignore[no-any-return]


def _import(module: str) -> ModuleType:
    """Import a module, from the current folder too, where a console script would not look."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(module)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _takes(factory: Factory, keyword: str) -> bool:
    parameters = inspect.signature(factory).parameters
    if keyword in parameters:
        return True
    # A factory with **kwargs, as torchvision's, passes num_classes on but knows no in_channels.
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return takes_any and keyword == "num_classes"
