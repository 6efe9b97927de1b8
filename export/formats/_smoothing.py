"""SmoothQuant, where it is measured to help: it evens out activations' channels into the weights.

On a network that averages its tokens, OpenVINO's fusion of a smoothed model is wrong for more than
one image: 13 dB alone, -0.3 dB for 40 at once, where the same network without it has 13 dB for any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.checking.parity import compare
from foundation.errors import ExportError

_IMAGES = 32
_GAIN_DB = 0.5  # less is chance
_NOTHING_DB = -200.0  # JSON has no infinity


@dataclass(frozen=True)
class AnswersKept:
    """What a quantised model keeps of the FP32 model's answers to calibration images, at the
    number of images at once (one, or all) at which it keeps least."""

    signal_to_noise_db: float
    top1_agreement: float


@dataclass(frozen=True, eq=False)
class Smoothing:
    """The model that is the better one, and why.

    Attributes:
        model: it.
        helps: whether it is the smoothed one.
        images: number of images that it was measured on; 0 where it was not.
        smoothed, plain: what either is worth; None where it was not measured.
    """

    model: Any
    helps: bool
    images: int = 0
    smoothed: AnswersKept | None = None
    plain: AnswersKept | None = None

    def as_facts(self) -> dict[str, Any]:
        """What a bundle records of it."""
        if self.smoothed is None or self.plain is None:
            return {"smooth_quant": self.helps}
        measured = {
            "images": self.images,
            "smoothed": asdict(self.smoothed),
            "plain": asdict(self.plain),
        }
        return {"smooth_quant": self.helps, "smoothing_measured": measured}

    @property
    def remark(self) -> str | None:
        """What was decided, in a line; None where it was asked for, or not thought of."""
        if self.smoothed is None or self.plain is None:
            return None
        decision = "smoothed (SmoothQuant)" if self.helps else "not smoothed (SmoothQuant)"
        return (
            f"{decision}: of FP32's answers to {self.images} calibration images, alone and "
            f"together, {self.smoothed.signal_to_noise_db:.1f} dB are left with it and "
            f"{self.plain.signal_to_noise_db:.1f} without"
        )


def better_of(
    original: Any,
    quantize: Callable[[bool], Any],
    load: Callable[[Any], Callable[[NDArray[np.float32]], NDArray[np.float32]]],
    calibration: NDArray[np.float32],
    batch: int | None,
) -> Smoothing:
    """Quantise with smoothing and without, and take the one that keeps more.

    Args:
        original: the FP32 model.
        quantize: makes the INT8 model, smoothed or not.
        load: makes a model a function from images (N, C, H, W) to logits.
        calibration: prepared images.
        batch: how many the model takes at once; None where any number will do.
    """
    images = calibration[:_IMAGES]
    sizes = (1, len(images)) if batch is None else (batch,)
    images = images[: len(images) - len(images) % sizes[-1]]
    plain_model = quantize(False)
    if not len(images):
        return Smoothing(plain_model, helps=False)
    reference = _answers(load(original), images, sizes[-1])

    def worth(model: Any) -> AnswersKept:
        run = load(model)
        try:
            parities = [compare(reference, _answers(run, images, size)) for size in sizes]
        except ExportError:  # answers that are not finite
            return AnswersKept(_NOTHING_DB, 0.0)
        return AnswersKept(
            min(parity.signal_to_noise_db for parity in parities),
            min(parity.top1_agreement for parity in parities),
        )

    smoothed_model = quantize(True)
    smoothed, plain = worth(smoothed_model), worth(plain_model)
    helps = (
        smoothed.signal_to_noise_db >= plain.signal_to_noise_db + _GAIN_DB
        and smoothed.top1_agreement >= plain.top1_agreement
    )
    model = smoothed_model if helps else plain_model
    return Smoothing(model, helps, len(images), smoothed, plain)


def _answers(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    images: NDArray[np.float32],
    size: int,
) -> NDArray[np.float32]:
    starts = range(0, len(images), size)
    return np.concatenate([run(images[start : start + size]) for start in starts])
