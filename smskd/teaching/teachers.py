"""How the teacher is asked: it runs on the batch, or what it said of it is looked up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.engine import Engine
from smskd.features.signals import Signals
from smskd.features.taps import TappedModel
from smskd.methods import Method
from smskd.teaching.teacher_views import TeacherViews

AskTeacher = Callable[[Batch], Signals]
Autocast = Callable[[], AbstractContextManager[None]]


def ask_live(network: Callable[[Tensor], Signals], images: Tensor, autocast: Autocast) -> Signals:
    """What a network that does not learn says about images.

    It runs under `inference_mode`; what comes out is cloned into ordinary tensors, for losses
    keep teacher tensors for their backward pass, and inference tensors refuse that.
    """
    with torch.inference_mode(), autocast():
        signals = network(images)
    return signals.map(torch.clone)


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
    return any(isinstance(m, Method) and "features" in m.needs for m in methods.values())


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
