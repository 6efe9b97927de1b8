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

from export.formats import Predictor
from export.formats._answers_kept import AnswersKept, Judge


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
    load: Callable[[Any], Predictor],
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
    judge = Judge(original, load, calibration, batch)
    plain_model = quantize(False)
    if not judge.images:
        return Smoothing(plain_model, helps=False)
    smoothed_model = quantize(True)
    smoothed, plain = judge.judge(smoothed_model), judge.judge(plain_model)
    helps = smoothed.beats(plain)
    model = smoothed_model if helps else plain_model
    return Smoothing(model, helps, judge.images, smoothed, plain)
