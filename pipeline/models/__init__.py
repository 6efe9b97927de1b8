"""Models, one family a file. Importing a file registers its models.

A model is a factory: see `Factory`. Besides the registered ones, a recipe may name those of a
library as "torchvision/resnet18", and any callable as "package.module:factory".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from foundation.errors import (
    CompressError,
    ModelMismatchError,
    UnknownNameError,
    WeightsMismatchError,
    nearest,
    unknown_name,
)
from foundation.files import sha256_of, user_path
from foundation.registry import Registry
from pipeline.models.preparation import GRAPH_SUFFIX, Preparation, preparation_of_graph
from pipeline.recipe.code import failure_in, function_named
from pipeline.recipe.noted import noted_network
from pipeline.recipe.sections.networks import NetworkRecipe
from pipeline.recipe.sections.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

Factory: TypeAlias = "Callable[..., nn.Module]"
"""Makes a network: called with `num_classes`, and with `in_channels` where it takes that."""

MODELS: Registry[Factory] = Registry("model", "pipeline.models.families")


@dataclass(frozen=True)
class Library:
    """The models of another package, under its own names.

    Attributes:
        names: gives the names of all models.
        build: makes a fresh network from a name, num_classes and in_channels, and settings of its
            own by keyword.
        weights: gives the names of a model's pretrained weights, the package's own choice first.
        fetch: gives the tensors of a model's pretrained weights, from a cache or the network.
        needed: gives the settings that a model's pretrained weights are for, by its builder's
            names, where they are not its own.
        unstored: gives a model's settings that change what it computes and that no weights carry.
        preparation: gives how the images were prepared that pretrained weights were trained on.
        classes: gives the names of pretrained weights' classes, in the order of the logits; none
            where nobody tells.
    """

    names: Callable[[], list[str]]
    build: Callable[..., nn.Module]
    weights: Callable[[str], list[str]]
    fetch: Callable[[str, str], dict[str, Tensor]]
    needed: Callable[[str, str], dict[str, Any]] = field(default=lambda _model, _weights: {})
    unstored: Callable[[str], tuple[str, ...]] = field(default=lambda _model: ())
    preparation: Callable[[str, str], Preparation] = field(
        default=lambda _model, _weights: Preparation()
    )
    classes: Callable[[str, str], list[str]] = field(default=lambda _model, _weights: [])


LIBRARIES: Registry[Library] = Registry("model library", "pipeline.models.libraries")


def build_model(
    name: str,
    num_classes: int,
    in_channels: int,
    where: str = "",
    settings: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A fresh network.

    Args:
        name: a registered model, "library/model", or "package.module:factory".
        num_classes: number of logits.
        in_channels: 1 for grey images, 3 for RGB.
        where: the place of the name in the recipe, for messages.
        settings: what else its factory is told, by keyword.

    Raises:
        UnknownNameError: when there is no such model.
        ModelMismatchError: when the factory cannot be found or does not give a network.
    """
    from torch import nn  # noqa: PLC0415 - to look a preparation up, nobody needs it

    factory = find_factory(name, where)
    arguments = {"num_classes": num_classes, "in_channels": in_channels}
    try:
        accepted = {key: value for key, value in arguments.items() if _takes(factory, key)}
        model = factory(**accepted, **(settings or {}))
    except CompressError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may fail in any way
        raise ModelMismatchError(
            f"model {name!r}: its factory failed when asked for "
            f"{arguments | dict(settings or {})}: {failure_in(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelMismatchError(
            f"model {name!r}: its factory gave a {type(model).__name__}, not a torch.nn.Module"
        )
    return model


def find_factory(name: str, where: str = "") -> Factory:
    """The factory that a name stands for; see `build_model`."""
    if ":" not in name:
        return _of_library(name, where) if "/" in name else MODELS.get(name, where)
    return function_named(name, "model", where)


def names_weights(weights: str) -> bool:
    """Whether it names a library's pretrained weights, "torchvision:DEFAULT", and no file."""
    library, colon, _ = weights.partition(":")
    return bool(colon) and library in LIBRARIES.names()


def weights_identity(weights: str | None) -> str | None:
    """What a step that uses weights depends on: a file's SHA-256, or pretrained weights' name."""
    if weights is None or names_weights(weights):
        return weights
    return sha256_of(user_path(weights)) if user_path(weights).is_file() else None


def teachers_identity(recipe: Recipe) -> Any:
    """The same of a recipe's teacher, or of each of several."""
    if not recipe.teachers:
        return teacher_identity(recipe.teacher)
    return [[member.name, teacher_identity(member)] for member in recipe.teachers]


def teacher_identity(teacher: NetworkRecipe) -> str | None:
    """What a teacher is known by that is finished, or goes on from trained weights: their file's
    SHA-256, or their name; None of one that is trained here."""
    path = user_path(teacher.model)
    is_file = bool(path.suffix) and path.is_file()
    return weights_identity(teacher.model if is_file else teacher.begins_with or None)


def settings_for(model: str, weights: str | None) -> dict[str, Any]:
    """Settings that a library's model must be built with for its pretrained weights.

    Args:
        model: its name in the recipe.
        weights: what the recipe says of its weights.
    """
    if weights is None or not names_weights(weights) or "/" not in model or ":" in model:
        return {}
    library, _, weights_name = weights.partition(":")
    owner, _, name = model.partition("/")
    return LIBRARIES.get(library).needed(name, weights_name) if owner == library else {}


def unstored_settings(model: str) -> tuple[str, ...]:
    """Settings of a model that change what it computes and that no weights carry."""
    owner, slash, name = model.partition("/")
    return LIBRARIES.get(owner).unstored(name) if slash and ":" not in model else ()


def pretrained_tensors(weights: str, model: str) -> dict[str, Tensor]:
    """The tensors of a library's pretrained weights, fetched where they are not there yet.

    Args:
        weights: "library:name", such as "torchvision:IMAGENET1K_V1" or "timm:pretrained".
        model: the model that takes them, "library/model".

    Raises:
        UnknownNameError: when the library, or the model, has no such weights.
        WeightsMismatchError: when the model is not the library's.
        MissingFileError: when they are not there and cannot be fetched.
        CorruptFileError: when the file is not what it should be.
    """
    check_weights_name(weights, model)
    owner, _, weights_name = weights.partition(":")
    return LIBRARIES.get(owner).fetch(model.removeprefix(f"{owner}/"), weights_name)


def check_weights_name(weights: str, model: str) -> None:
    """Make sure that a library publishes such weights of a model.

    Args:
        weights, model: as `pretrained_tensors`.

    Raises:
        UnknownNameError: when the library, or the model, has no such weights.
        WeightsMismatchError: when the model is not the library's.
    """
    owner, _, weights_name = weights.partition(":")
    library = LIBRARIES.get(owner)
    if not model.startswith(f"{owner}/"):
        raise WeightsMismatchError(
            f"weights {weights!r} are for models of {owner}, but the model is {model!r}; "
            f"`compress models {owner}/` lists those"
        )
    find_factory(model)  # refuses a name that there is not
    name = model.removeprefix(f"{owner}/")
    weights_names = library.weights(name)
    if weights_name not in weights_names:
        raise unknown_name(f"weights of {model}", weights_name, weights_names)


def preparation_of(model: str, weights: str | None) -> Preparation | None:
    """How the images were prepared that a library's pretrained weights were trained on.

    None where the weights are no library's, which says nothing of others; an ONNX file may note it,
    and a file of weights that was written here does.
    """
    if model.lower().endswith(GRAPH_SUFFIX):
        return preparation_of_graph(Path(model))
    published = _published(model, weights)
    if published:
        return published[0].preparation(*published[1:])
    if weights is None or not user_path(weights).is_file():
        return None
    noted = noted_network(user_path(weights))
    if noted is None:
        return None
    return replace(Preparation.of(noted.preprocessing), source=Path(weights).name)


def usual_weights(model: str) -> str | None:
    """The pretrained weights that a library itself takes for a model of its own, by name; None of
    other models, and where it publishes none.

    Raises:
        UnknownNameError: when there is no such model.
    """
    owner, slash, name = model.partition("/")
    if not slash or ":" in model:
        return None
    find_factory(model)
    names = LIBRARIES.get(owner).weights(name)
    return f"{owner}:{names[0]}" if names else None


def classes_of(model: str, weights: str | None) -> list[str]:
    """The names of the classes of a library's pretrained weights, in the order of the logits.

    There are none where the weights are no library's, or it does not tell.
    """
    published = _published(model, weights)
    return published[0].classes(*published[1:]) if published else []


def _published(model: str, weights: str | None) -> tuple[Library, str, str] | None:
    """The library of pretrained weights, its name of the model, and theirs; None of others."""
    if weights is None or not names_weights(weights):
        return None
    library_name, _, weights_name = weights.partition(":")
    owner, _, name = model.partition("/")
    library = LIBRARIES.get(library_name)
    # What is wrong with these names, who builds the network says.
    is_its_own = owner == library_name and name in library.names()
    if not is_its_own or weights_name not in library.weights(name):
        return None
    return library, name, weights_name


def _of_library(name: str, where: str) -> Factory:
    library_name, _, model = name.partition("/")
    library = LIBRARIES.get(library_name, where)
    names = library.names()
    if model not in names:
        # Not `unknown_name`: a list of a thousand names helps nobody.
        close = nearest(model, names)
        hint = f", did you mean '{library_name}/{close}'?" if close else "."
        raise UnknownNameError(
            f"{where + ': ' if where else ''}unknown model {name!r}{hint} "
            f"`compress models {library_name}/` lists all"
        )
    return partial(library.build, model)


def _takes(factory: Factory, keyword: str) -> bool:
    parameters = inspect.signature(factory).parameters
    if keyword in parameters:
        return True
    # A factory with **kwargs, as torchvision's, passes num_classes on but knows no in_channels.
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return takes_any and keyword == "num_classes"
