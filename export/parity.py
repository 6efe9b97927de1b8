"""Does an exported model say what the original says?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.errors import ExportError


@dataclass(frozen=True)
class Parity:
    """How two models' logits agree on the same images.

    Attributes:
        max_abs_error: largest difference of any logit.
        relative_error: the same, as a share of the reference's largest logit by magnitude.
        top1_agreement: share of images, 0..1, for which both name the same class.
        n: number of images.
    """

    max_abs_error: float
    relative_error: float
    top1_agreement: float
    n: int


@dataclass(frozen=True)
class Tolerance:
    """What a precision is allowed: at most this error, at least this agreement."""

    relative_error: float
    top1_agreement: float


TOLERANCES = {
    # The same arithmetic in another order: rounding leaves 1e-6 to 1e-5, a wrong graph far more.
    "fp32": Tolerance(relative_error=1e-4, top1_agreement=0.0),
    # Weights keep 11 significant bits (5e-4 each); a few layers deep that stays below 1e-2.
    "fp16": Tolerance(relative_error=1e-2, top1_agreement=0.0),
    # 256 steps move every logit, so only the decision can be held to; what the quantisation
    # costs is the accuracy in the manifest, and the gate's business. This finds broken graphs.
    "int8": Tolerance(relative_error=float("inf"), top1_agreement=0.8),
}


def compare(reference: NDArray[np.float32], outputs: NDArray[np.float32]) -> Parity:
    """Measure the agreement of two sets of logits.

    Args:
        reference: the original's logits, shape (N, classes), N at least 1.
        outputs: the exported model's, same shape.

    Raises:
        ExportError: when the shapes differ, there are no images, or a logit is not finite.
    """
    if reference.shape != outputs.shape or reference.ndim != 2 or not reference.size:
        raise ExportError(
            f"logits must be (images, classes) on both sides, but the original gave "
            f"{reference.shape} and the exported model {outputs.shape}; "
            "check the model's output and the probe images"
        )
    for whose, logits in (("original", reference), ("exported model", outputs)):
        if not np.isfinite(logits).all():
            raise ExportError(
                f"the {whose} gave logits that are not finite; check the weights it was made from"
            )
    error = float(np.abs(reference.astype(np.float64) - outputs).max())
    largest = max(float(np.abs(reference).max()), float(np.finfo(np.float32).tiny))
    agreement = float((reference.argmax(1) == outputs.argmax(1)).mean())
    return Parity(error, error / largest, agreement, len(reference))


def check(parity: Parity, precision: str, what: str) -> None:
    """Hold a parity to its precision's tolerance; an unlisted precision is held to int8's.

    Args:
        parity: what was measured.
        precision: "fp32", "fp16", "int8", or one that a new format brings.
        what: the bundle that is named in the message.

    Raises:
        ExportError: when the exported model does not agree with the original.
    """
    tolerance = TOLERANCES.get(precision, TOLERANCES["int8"])
    if not parity.relative_error <= tolerance.relative_error:
        raise ExportError(
            f"{what}: {precision} logits differ from the original's by {parity.relative_error:.1e} "
            f"of the largest, allowed are {tolerance.relative_error:.0e}; "
            "do not use this model, try another format or opset"
        )
    if not parity.top1_agreement >= tolerance.top1_agreement:
        raise ExportError(
            f"{what}: {precision} names the original's class for {parity.top1_agreement:.0%} of "
            f"{parity.n} probe images, at least {tolerance.top1_agreement:.0%} are needed; "
            "use more calibration images or another quantisation scheme"
        )
