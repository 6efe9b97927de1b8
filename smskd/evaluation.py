"""How well a network classifies."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from foundation.memory import keep_freed_memory
from smskd.batch import Batches, as_batch
from smskd.blame import blamed
from smskd.features.taps import evaluating, logits_in
from smskd.precision import full_precision

logger = logging.getLogger(__name__)


def evaluate(
    model: nn.Module, batches: Batches, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Top-1 accuracy and cross-entropy.

    Args:
        model: maps images to logits (N, classes).
        batches: (images, labels) pairs.
        device: where the network lies.

    Returns:
        "top1" (0..1), "loss" (mean cross-entropy) and "n" (images seen).

    Raises:
        ValueError: when there is no image.
        ModelMismatchError: when the network fails, or gives something else.
    """
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    began = time.perf_counter()
    correct = loss = torch.zeros((), dtype=torch.float64)
    n = 0
    with evaluating(model), torch.inference_mode():
        for batch in batches:
            images, labels = as_batch(batch)[:2]
            with blamed(model, f"answering images of shape {tuple(images.shape)}"):
                logits = full_precision(logits_in(model, model(images.to(device))))
            truth = labels.to(device)
            correct = correct + (logits.argmax(1) == truth).sum().cpu()
            loss = loss + F.cross_entropy(logits, truth, reduction="sum").cpu()
            n += len(labels)
    if n == 0:
        raise ValueError("there is no image to evaluate on")
    seconds = time.perf_counter() - began
    logger.debug("%d of %d images answered rightly, in %.1f s", correct.item(), n, seconds)
    return {"top1": correct.item() / n, "loss": loss.item() / n, "n": n}
