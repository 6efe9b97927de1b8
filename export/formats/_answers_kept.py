"""What a quantised model keeps of the FP32 model's answers: how forms of it are told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.checking.parity import compare
from export.formats import Predictor
from foundation.errors import ExportError

GAIN_DB = 0.5
"""Less is chance."""
_IMAGES = 32
_ONE_IMAGE = 1.01 / _IMAGES  # between two classes as good as each other, any change decides
_NOTHING_DB = -200.0  # JSON has no infinity


@dataclass(frozen=True)
class AnswersKept:
    """What a quantised model keeps of the FP32 model's answers to calibration images, at the
    number of images at once (one, or all) at which it keeps least."""

    signal_to_noise_db: float
    top1_agreement: float

    def beats(self, other: AnswersKept) -> bool:
        """Whether it keeps more than the other by more than chance."""
        return (
            self.signal_to_noise_db >= other.signal_to_noise_db + GAIN_DB
            and self.top1_agreement >= other.top1_agreement - _ONE_IMAGE
        )


class Judge:
    """Holds forms of a quantised model against the FP32 model.

    Args:
        original: the FP32 model.
        load: makes a model a function from images (N, C, H, W) to logits.
        calibration: prepared images; the last of them are asked about.
        batch: how many the model takes at once; None where any number will do.

    Attributes:
        images: number of images that are asked about; 0 where there are too few.
    """

    def __init__(
        self,
        original: Any,
        load: Callable[[Any], Predictor],
        calibration: NDArray[np.float32],
        batch: int | None,
    ) -> None:
        self._load = load
        images = calibration[-_IMAGES:]
        self._sizes = (1, len(images)) if batch is None else (batch,)
        self._images = (
            images[: len(images) - len(images) % self._sizes[-1]] if len(images) else images
        )
        self.images = len(self._images)
        if self.images:
            self._reference = _answers(load(original), self._images, self._sizes[-1])

    def judge(self, model: Any) -> AnswersKept:
        """What a form keeps, at the number of images at once at which it keeps least."""
        run = self._load(model)
        try:
            parities = [
                compare(self._reference, _answers(run, self._images, size)) for size in self._sizes
            ]
        except ExportError:  # answers that are not finite
            return AnswersKept(_NOTHING_DB, 0.0)
        return AnswersKept(
            min(parity.signal_to_noise_db for parity in parities),
            min(parity.top1_agreement for parity in parities),
        )


def _answers(run: Predictor, images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    starts = range(0, len(images), size)
    return np.concatenate([run(images[start : start + size]) for start in starts])
