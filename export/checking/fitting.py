"""Does a graph that fits pictures itself see what is seen of pictures that are fitted outside?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.checking.evidence import BundleDraft
from export.checking.parity import Tolerance, compare, keeps
from export.formats import FORMATS
from export.graphs.batches import in_batches_of
from export.requests import ExportSource
from foundation.errors import ExportError

_PICTURES = 4  # of each shape

# Pixels may be a shade or two apart: 30 to 60 dB were seen. Another rule of fitting, such as a
# filter without antialiasing or a middle that lies elsewhere, is at 15 dB and below.
_TOLERANCE = Tolerance(float("inf"), top1_agreement=0.8, signal_to_noise_db=20.0)


def hold_to_fit(draft: BundleDraft, source: ExportSource, batch: int | None) -> dict[str, Any]:
    """Compare what a model answers to pictures of several shapes with what it answers to them when
    they were fitted outside.

    Args:
        draft: what was written; takes pictures of any size.
        source: its `fit` does outside what the graph does inside.
        batch: how many pictures the model takes at once; None where any number will do.

    Returns:
        How they agree, and on how many pictures.

    Raises:
        ExportError: when they do not.
    """
    if source.fit is None:
        raise ValueError("a graph that fits pictures can only be checked with the source's own fit")
    predict = in_batches_of(FORMATS.get(draft.format)().load(draft.model_file), batch)
    inside: list[NDArray[np.float32]] = []
    outside: list[NDArray[np.float32]] = []
    for picture in _pictures(source.probe_images[:_PICTURES]):
        pictures: NDArray[Any] = picture[None]
        inside.append(predict(pictures))
        outside.append(predict(draft.preprocessing.prepare(source.fit(picture)[None])))
    parity = compare(np.concatenate(outside), np.concatenate(inside))
    if not keeps(parity, _TOLERANCE):
        raise ExportError(
            f"{draft.name}: sees pictures that its graph fits otherwise than those that are fitted "
            f"outside: the same class for {parity.top1_agreement:.0%} of {parity.n}, "
            f"{parity.signal_to_noise_db:.1f} dB; the runtime resamples in a way of its own: leave "
            "fitting outside (--embed-preprocessing normalise)"
        )
    return {
        "n": parity.n,
        "relative_error": parity.relative_error,
        "top1_agreement": parity.top1_agreement,
        "signal_to_noise_db": parity.signal_to_noise_db,
    }


def _pictures(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Pictures of several shapes, made of images: larger, smaller, wide, high and odd."""
    for image in images:
        height, width = image.shape[:2]
        yield image.repeat(2, axis=0).repeat(3, axis=1)
        yield image.repeat(3, axis=0).repeat(2, axis=1)
        yield np.ascontiguousarray(image[: max(1, 2 * height // 3)])
        yield np.ascontiguousarray(image[:, : max(1, 3 * width // 5)]).repeat(2, axis=0)[1:]
