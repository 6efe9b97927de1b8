"""How far a model's logits are from the original's: what export, verification and devices go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEAST_LOGIT = 2.0**-149  # below it, above zero, float32 has no number


@dataclass(frozen=True)
class Agreement:
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


def agreement_of(reference: NDArray[np.float32], outputs: NDArray[np.float32]) -> Agreement:
    """Measure the agreement of two sets of logits, in double precision.

    Where the reference is zero throughout there is no size that an error could be a share of, and
    its share is infinite; JSON has no infinity, and None or 0 would read as no error at all. So it
    is a share of the smallest float32 above zero: 0 for the same zeros, and for anything else at
    least 1, which is beyond what any precision may be off by.

    Args:
        reference: the original's logits, shape (N, classes), N at least 1, all finite.
        outputs: the other model's, same shape, all finite.
    """
    import numpy as np  # noqa: PLC0415

    error = float(np.abs(reference.astype(np.float64) - outputs).max())
    largest = max(float(np.abs(reference).max()), _LEAST_LOGIT)
    same_class = float((reference.argmax(1) == outputs.argmax(1)).mean())
    return Agreement(error, error / largest, same_class, len(reference))
