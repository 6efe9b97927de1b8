"""The layer of a network that gives its logits, fitted to the classes of the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foundation.errors import CompressError, ModelMismatchError
from pipeline.data.facts import DataFacts
from smskd.engine import derive_seed
from smskd.features.taps import dry_pass
from smskd.fine_tuning.head import find_head, replace_head


def fit_head(
    network: nn.Module,
    model: str,
    facts: DataFacts,
    seed: int,
    role: str,
    *,
    head: str | None = None,
) -> str | None:
    """Make the layer that gives a network's logits anew where the data has other classes.

    Args:
        network: in place.
        model: its name in the recipe.
        facts: what the data is.
        seed: the run's.
        role: the network's.
        head: name of that layer; None finds it.

    Returns:
        Its name; None where the network has as many logits as the data has classes.

    Raises:
        ModelMismatchError: when no such layer is found.
        UnknownNameError: when there is none of the name that was given.
    """
    images, classes = blank_images(facts, role), len(facts.classes)
    if logit_count(network, model, images) == classes:
        return None
    name = find_head(network, images, head)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, role, "head"))
        replace_head(network, images, name, classes)
    return name


def blank_images(facts: DataFacts, role: str) -> Tensor:
    """Two black images as a network of that role takes them, shape (2, C, H, W)."""
    shape = facts.seen_by(role)
    return torch.zeros(2, shape.channels, shape.height, shape.width)


def logit_count(network: nn.Module, model: str, images: Tensor) -> int:
    """How many logits a network gives for an image.

    Raises:
        ModelMismatchError: when it does not run on images of this size and kind.
    """
    try:
        return dry_pass(network, images).shape[1]
    except CompressError:
        raise
    except Exception as error:  # a user's network may fail in any way
        raise ModelMismatchError(
            f"model {model!r} does not run on images of shape {tuple(images.shape[1:])}: "
            f"{str(error).partition(chr(10))[0]}; set data.image_size (a teacher's own: "
            "data.teacher_image_size) and data.channels (1 for grey images) to what it takes, or "
            "choose another model"
        ) from error
