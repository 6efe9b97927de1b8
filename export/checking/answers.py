"""What a model answers: its logits, what they are worth, and whether they can be a reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export.checking.reference import torch_predictor
from export.formats import ExportFormat, Predictor
from export.graphs.batches import in_batches_of
from export.graphs.from_onnx import onnx_predictor
from export.requests import ExportSource
from foundation.bundle import Preprocessing
from foundation.errors import ExportError
from foundation.memory import at_once

BATCH = 64
ALONE = "one by one"
_MOST_SHIFTS = 8


def predictor_of(original: nn.Module | Path) -> Predictor:
    """The original's own answers: torch's, or those of an ONNX file as it is written."""
    if isinstance(original, Path):
        return onnx_predictor(original)
    return torch_predictor(original)


def logits_of(
    predict: Predictor, images: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Logits (N, classes) for uint8 images (N, H, W, C), as many at once as stay small."""
    if not len(images):
        raise ExportError("there are no images to check the model on; give some")
    return _in_batches(predict, images, preprocessing, at_once(images, BATCH))


def logits_in_every_batch(
    export_format: ExportFormat,
    model_file: Path,
    images: NDArray[np.uint8],
    preprocessing: Preprocessing,
    batch: int | None,
) -> dict[str, NDArray[np.float32]]:
    """What a written model answers to the same images asked one by one, two by two and together.

    A runtime computes a batch by other kernels than an image alone, and its fusions have been
    wrong for some sizes. A model of a fixed batch is asked with each image at every place in it,
    or at eight of them.

    Args:
        export_format: the model's format.
        model_file: the file that a runtime opens.
        images: uint8 images (N, H, W, C).
        preprocessing: of the model.
        batch: how many images it takes at once; None where any number will do.

    Returns:
        Logits (N, classes) in the order of `images`, by how they were asked for.
    """
    if not len(images):
        raise ExportError("there are no images to check the model on; give some")
    alone = in_batches_of(export_format.load_for_one(model_file), batch)
    answers = {ALONE: _in_batches(alone, images, preprocessing, 1)}
    predict = in_batches_of(export_format.load(model_file), batch)
    if batch is None:
        answers["two by two"] = _in_batches(predict, images, preprocessing, 2)
        answers["together"] = _in_batches(predict, images, preprocessing, BATCH)
        return answers
    for shift in _spread(min(batch, len(images))) if batch > 1 else []:
        moved = _in_batches(predict, np.roll(images, shift, axis=0), preprocessing, len(images))
        answers[f"together, the first at place {shift + 1}"] = np.roll(moved, -shift, axis=0)
    return answers


def _spread(places: int) -> list[int]:
    """At most eight of 0..places−1, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, places - 1, _MOST_SHIFTS)})


def _in_batches(
    predict: Predictor, images: NDArray[np.uint8], preprocessing: Preprocessing, size: int
) -> NDArray[np.float32]:
    starts = range(0, len(images), size)
    prepare = preprocessing.prepare
    return np.concatenate([predict(prepare(images[start : start + size])) for start in starts])


def check_reference(reference: NDArray[np.float32], source: ExportSource) -> None:
    """Make sure that the original's logits of the probe images can be held against.

    Raises:
        ExportError: when they are of other classes, or not finite.
    """
    whole = isinstance(source.model, Path)
    name = str(source.model) if whole else type(source.model).__name__
    if reference.shape != (len(source.probe_images), len(source.classes)):
        raise ExportError(
            f"{name} gives logits of shape {reference.shape} for "
            f"{len(source.probe_images)} images and {len(source.classes)} classes; "
            "give the class names that it was trained on"
        )
    if not np.isfinite(reference).all():
        raise ExportError(
            f"{name}: the original gave logits that are not finite; "
            "check the weights it was made from"
        )
