"""How well a network classifies."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from foundation.memory import keep_freed_memory
from smskd.batch import Batches, as_batch
from smskd.blame import blamed
from smskd.features.taps import evaluating, logits_in
from smskd.precision import full_precision

logger = logging.getLogger(__name__)


class JudgingMetric(Protocol):
    """What a network is judged by beside top-1; higher is better.

    Attributes:
        identity: what tells it from others, for what depends on it.
    """

    @property
    def identity(self) -> str: ...

    def __call__(
        self, logits: NDArray[np.float32], labels: NDArray[np.int64], /
    ) -> dict[str, float]:
        """Its figures by name, the one that choices go by first.

        Args:
            logits: float32 (N, classes).
            labels: int64 (N,).
        """
        ...


@dataclass
class AnswerLog:
    """What a network answers to labelled images, one after the other.

    Attributes:
        keeps_logits: whether all of them are kept, or the named classes alone.
    """

    keeps_logits: bool
    _labels: list[NDArray[np.int64]] = field(default_factory=list)
    _answers: list[NDArray[Any]] = field(default_factory=list)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """A batch: logits (N, classes), labels (N,); images without a label (below 0) are not
        kept."""
        there = labels >= 0
        said = logits[there] if self.keeps_logits else logits[there].argmax(1)
        self._labels.append(labels[there].cpu().numpy())
        self._answers.append(said.cpu().numpy())

    @property
    def labels(self) -> NDArray[np.int64]:
        """What the images show, (N,)."""
        return np.concatenate(self._labels)

    @property
    def logits(self) -> NDArray[np.float32]:
        """What was answered, (N, classes), where logits are kept."""
        return np.concatenate(self._answers).astype(np.float32, copy=False)

    @property
    def answers(self) -> NDArray[np.int64]:
        """The classes that were named, (N,)."""
        said = np.concatenate(self._answers)
        return np.asarray(said.argmax(1) if self.keeps_logits else said, np.int64)


def evaluate(
    model: nn.Module,
    batches: Batches,
    device: torch.device | str = "cpu",
    log: AnswerLog | None = None,
) -> dict[str, Any]:
    """Top-1 accuracy and cross-entropy.

    Args:
        model: maps images to logits (N, classes).
        batches: (images, labels) pairs.
        device: where the network lies.
        log: takes down what it answers.

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
            if log is not None:
                log.add(logits, truth)
    if n == 0:
        raise ValueError("there is no image to evaluate on")
    seconds = time.perf_counter() - began
    logger.debug("%d of %d images answered rightly, in %.1f s", correct.item(), n, seconds)
    return {"top1": correct.item() / n, "loss": loss.item() / n, "n": n}


def recalls_of(log: AnswerLog) -> dict[str, float]:
    """How often images of a class are named rightly: "val_macro_recall", the mean over classes, and
    "val_worst_recall", the least; of the classes that have images, 0..1."""
    labels = log.labels
    if not len(labels):
        return {}
    shown = np.bincount(labels)
    right = np.bincount(labels[labels == log.answers], minlength=len(shown))
    recalls = right[shown > 0] / shown[shown > 0]
    return {"val_macro_recall": float(recalls.mean()), "val_worst_recall": float(recalls.min())}
