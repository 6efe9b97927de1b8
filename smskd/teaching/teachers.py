"""How the teacher is asked: it runs on the batch, or what it said of it is looked up."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.engine import Engine
from smskd.features.folding import folded
from smskd.features.signals import Signals
from smskd.features.taps import TappedModel
from smskd.methods import Method
from smskd.teaching.teacher_views import TeacherViews

_EXAMPLES = 2
_FEW = 32
"""Images that each thread of a processor is given at once: of 16 to 128 the fastest."""

AskTeacher = Callable[[Batch], Signals]
Network = Callable[[Tensor], Signals]
Autocast = Callable[[], AbstractContextManager[None]]


def ask_live(network: Network, images: Tensor, autocast: Autocast) -> Signals:
    """What a network that does not learn says about images.

    It runs under `inference_mode`; what comes out is copied into ordinary tensors, for losses
    keep teacher tensors for their backward pass, and inference tensors refuse that. A processor is
    asked for a few images at a time, whose features stay in its cache.
    """
    with torch.inference_mode(), autocast():
        said = [network(part) for part in _few_at_a_time(images)]
    if len(said) == 1:
        return said[0].map(torch.clone)
    embeddings = [signals.embedding for signals in said if signals.embedding is not None]
    return Signals(
        torch.cat([signals.logits for signals in said]),
        tuple(map(torch.cat, zip(*(signals.features for signals in said), strict=True))),
        torch.cat(embeddings) if embeddings else None,
    )


def _few_at_a_time(images: Tensor) -> tuple[Tensor, ...]:
    """Images in parts of one size, give or take an image."""
    if images.device.type != "cpu":
        return (images,)
    return images.tensor_split(math.ceil(len(images) / (_FEW * torch.get_num_threads())) or 1)


def live_teacher(teacher: TappedModel, engine: Engine) -> AskTeacher:
    """A teacher that runs on each batch, on the engine's device and in its precision.

    It is left in evaluation mode on that device.
    """
    fabric = engine.fabric()
    engine.place(teacher.model.eval(), fabric.device)

    def ask(batch: Batch) -> Signals:
        images = engine.place_images(batch.seen_by_teacher, fabric.device)
        return ask_live(teacher, images, fabric.autocast)

    return ask


def ask_kept(views: TeacherViews, batch: Batch) -> Signals:
    """What the teacher said about a batch when its views were recorded."""
    signals = views.read(batch)
    return signals.map(lambda tensor: tensor.to(batch.images.device, non_blocking=True))


def needs_features(methods: nn.ModuleDict) -> bool:
    """Whether any of the methods reads features."""
    return _need("features", methods)


def needs_embedding(methods: nn.ModuleDict) -> bool:
    """Whether any of the methods reads the embedding."""
    return _need("embedding", methods)


def _need(what: str, methods: nn.ModuleDict) -> bool:
    return any(isinstance(m, Method) and what in m.needs for m in methods.values())


def make_teacher(
    teacher: TappedModel | Callable[[Tensor], Signals],
    views: TeacherViews | None,
    with_features: bool,
    autocast: Autocast,
) -> AskTeacher:
    """The cheapest way to hear what a stage needs.

    Args:
        teacher: the network with its taps.
        views: what was kept of it.
        with_features: whether features are needed and not logits and embeddings alone.
        autocast: puts the forward pass into the engine's precision.
    """
    if views is not None and (views.has_features or not with_features):
        return lambda batch: ask_kept(views, batch)
    return lambda batch: ask_live(teacher, batch.seen_by_teacher, autocast)


def live_reference(
    reference: TappedModel,
    start: Callable[[TappedModel], Network],
    autocast: Autocast,
    *,
    features: bool,
    embedding: bool,
) -> AskTeacher:
    """A reference that runs on each batch, its batch norms folded away.

    Args:
        reference: the frozen student of the stage before, in evaluation mode; left as it is.
        start: gives what runs it.
        autocast: puts the forward pass into the engine's precision.
        features, embedding: whether more than its logits is asked for.
    """
    networks: list[Network] = []  # none before there is a batch to look at

    def ask(batch: Batch) -> Signals:
        if not networks:
            networks.append(start(folded(reference, batch.images[:_EXAMPLES])))
        said = ask_live(networks[0], batch.images, autocast)
        return Signals(
            said.logits, said.features if features else (), said.embedding if embedding else None
        )

    return ask
