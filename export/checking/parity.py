"""Does an exported model say what the original says?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.agreement import Agreement, agreement_of
from foundation.errors import ExportError

_CEILING_DB = 200.0  # logits without any error; JSON has no infinity


@dataclass(frozen=True)
class ExportParity(Agreement):
    """How an exported model agrees with the original.

    Attributes:
        signal_to_noise_db: power of what the reference's logits tell of the images, over the
            error's power, in decibels, -200..200. Told is what differs between an image's
            classes and between the images: what softmax ignores and what all images share are
            taken out of the signal.
    """

    signal_to_noise_db: float = _CEILING_DB


@dataclass(frozen=True)
class Tolerance:
    """What a precision is allowed: at most this error, at least this agreement and signal."""

    relative_error: float
    top1_agreement: float
    signal_to_noise_db: float = -_CEILING_DB

    @property
    def words(self) -> str:
        """What it asks for: "the same class for 80 %, 6 dB"."""
        asked = []
        if math.isfinite(self.relative_error):
            asked.append(f"logits at most {self.relative_error:.1e} apart")
        if self.top1_agreement > 0:
            asked.append(f"the same class for {self.top1_agreement:.0%}")
        if self.signal_to_noise_db > -_CEILING_DB:
            asked.append(f"a signal of {self.signal_to_noise_db:g} dB over the error")
        return ", ".join(asked) or "nothing"


TOLERANCES = {
    # The same arithmetic in another order: rounding leaves 1e-6 to 1e-5, a wrong graph far more.
    "fp32": Tolerance(relative_error=1e-4, top1_agreement=0.0),
    # 11 significant bits (5e-4 each): stored so, 1e-3 and 60 dB were seen, and where a core adds up
    # in them too (ncnn on a Cortex-A76) 1.1e-2 and 40 dB.
    "fp16": Tolerance(relative_error=3e-2, top1_agreement=0.0),
    # 8 significant bits (4e-3 each) in weights and activations: 4e-3 to 5e-2 were seen, with 47 dB.
    "bf16": Tolerance(relative_error=1e-1, top1_agreement=0.8, signal_to_noise_db=20.0),
    # 256 steps move every logit, so no single one can be held to. A model that knows nothing of
    # the images is at 0 dB at best, whatever it answers (a constant 0, another network's logits
    # -3); sound quantisations of small CNNs and a ViT gave 16 to 36, and one that had clipped its
    # activations 3. At 6 dB the error is half as large as what the logits say. This finds broken
    # graphs; what the quantisation costs is the accuracy in the manifest, and the gate's business.
    "int8": Tolerance(relative_error=float("inf"), top1_agreement=0.8, signal_to_noise_db=6.0),
}

# The same file, asked in batches of another size: float sums come in another order, and a number
# between two integers falls on either. Sound INT8 models agreed bit for bit or within 60 dB; one
# whose fusion was wrong for some sizes was at 18 dB and below.
_BETWEEN_BATCHES = Tolerance(float("inf"), top1_agreement=0.9, signal_to_noise_db=25.0)

_REMEDY = {
    "bf16": "use fp16 or fp32",
    "int8": "use more calibration images or another quantisation scheme",
}


def check_between_batches(
    answers: Mapping[str, NDArray[np.float32]], precision: str, bundle: str
) -> float:
    """Make sure that a model gives an image the same answer however many are asked with it.

    Args:
        answers: logits (N, classes) of the same images, by how they were asked for.
        precision: of the model.
        bundle: its name, for the message.

    Returns:
        The largest difference of a logit, as a share of the largest logit.

    Raises:
        ExportError: when the answers differ by more than rounding can.
    """
    (first, alone), *others = answers.items()
    largest = 0.0
    for way, logits in others:
        parity = compare(alone, logits)
        largest = max(largest, parity.relative_error)
        limits = TOLERANCES.get(precision, _BETWEEN_BATCHES)
        limits = limits if math.isfinite(limits.relative_error) else _BETWEEN_BATCHES
        if not keeps(parity, limits):
            raise ExportError(
                f"{bundle}: answers the same images otherwise {way} than {first}: the same class "
                f"for {parity.top1_agreement:.0%} of {parity.n}, {parity.relative_error:.1e} of "
                f"the largest logit apart, {parity.signal_to_noise_db:.1f} dB; the runtime "
                "computes this model wrongly for some batch sizes: try another format or "
                "quantisation scheme"
            )
    return largest


def keeps(parity: ExportParity, limits: Tolerance) -> bool:
    """Whether figures are within a tolerance."""
    # Written so that a figure or a limit that is not a number keeps nothing.
    return (
        parity.relative_error <= limits.relative_error
        and parity.top1_agreement >= limits.top1_agreement
        and parity.signal_to_noise_db >= limits.signal_to_noise_db
    )


def compare(reference: NDArray[np.float32], outputs: NDArray[np.float32]) -> ExportParity:
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
    if not np.isfinite(reference).all():
        raise ExportError(
            "the original gave logits that are not finite; check the weights it was made from"
        )
    if not np.isfinite(outputs).all():
        raise ExportError(
            "the exported model gave logits that are not finite, where the original's are; its "
            "number format may have no room for what is computed (fp16 ends at 65,504), so try "
            "another precision"
        )
    agreement = agreement_of(reference, outputs)
    decibels = signal_to_noise_db(reference, outputs)
    return ExportParity(**asdict(agreement), signal_to_noise_db=decibels)


def signal_to_noise_db(reference: NDArray[np.float32], outputs: NDArray[np.float32]) -> float:
    """Power of what `reference` tells of its images over the power of the error, in decibels.

    Args:
        reference: logits, shape (N, classes). With one image there is nothing to tell it
            from, so all that differs between its classes counts as told.
        outputs: the other model's, same shape.

    Returns:
        -200 (nothing told) to 200 (no error).
    """
    signal = reference - reference.mean(axis=1, keepdims=True, dtype=np.float64)
    error = outputs.astype(np.float64) - reference
    error -= error.mean(axis=1, keepdims=True)
    power = float(np.square(signal).sum())
    if len(signal) > 1:
        # Around the mean of so few images, its own share in that mean is missing.
        power = float(np.square(signal - signal.mean(axis=0)).sum())
        power *= len(signal) / (len(signal) - 1)
    noise = float(np.square(error).sum())
    if noise == 0.0:
        return _CEILING_DB
    if power == 0.0:
        return -_CEILING_DB
    return max(-_CEILING_DB, min(_CEILING_DB, 10 * math.log10(power / noise)))


def check(parity: ExportParity, precision: str, bundle: str) -> None:
    """Hold a parity to its precision's tolerance; an unlisted precision is held to int8's.

    Args:
        parity: what was measured.
        precision: "fp32", "fp16", "bf16", "int8", or one that a new format brings.
        bundle: its name, for the message.

    Raises:
        ExportError: when the exported model does not agree with the original.
    """
    tolerance = TOLERANCES.get(precision, TOLERANCES["int8"])
    if not parity.relative_error <= tolerance.relative_error:
        raise ExportError(
            f"{bundle}: {precision} logits differ from the original's by "
            f"{parity.relative_error:.1e} of the largest, allowed are "
            f"{tolerance.relative_error:.0e}; do not use this model, try another format or opset"
        )
    if not parity.top1_agreement >= tolerance.top1_agreement:
        raise ExportError(
            f"{bundle}: {precision} names the original's class for {parity.top1_agreement:.0%} of "
            f"{parity.n} probe images, at least {tolerance.top1_agreement:.0%} are needed; "
            f"{_REMEDY.get(precision, _REMEDY['int8'])}"
        )
    if not parity.signal_to_noise_db >= tolerance.signal_to_noise_db:
        raise ExportError(
            f"{bundle}: {precision} logits tell {parity.signal_to_noise_db:.1f} dB of the "
            f"original's over their error, at least {tolerance.signal_to_noise_db:g} dB are "
            f"needed; {_REMEDY.get(precision, _REMEDY['int8'])}"
        )
