"""What of NNCF's settings a network is quantised with, where the scheme leaves it to measuring.

Activations that are symmetric around zero need no correction for their zero points: on a network of
ReLU6 that was 0.87 of the time, and elsewhere no more time. Asymmetric ones have twice the steps
where values have one sign and a little of the other. Correcting biases costs calibration time and
no time at all in the model: it is tried where something is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from export.formats._answers_kept import AnswersKept, Judge
from export.quantization import QuantizationScheme

_NOTHING_LOST_DB = 30.0
_DECIDED_ON = 64  # images: the decision needs no more, the ranges take them all


@dataclass(frozen=True)
class Tuning:
    """The settings that were chosen, and why.

    Attributes:
        scheme: with a preset and a bias correction.
        images: number of images that the forms were asked about; 0 where nothing was measured.
        tried: what each form kept, in the order in which they were tried.
    """

    scheme: QuantizationScheme
    images: int = 0
    tried: tuple[tuple[str, AnswersKept], ...] = ()

    def as_facts(self) -> dict[str, Any]:
        """What a bundle records of it."""
        facts: dict[str, Any] = {
            "preset": self.scheme.preset,
            "bias_correction": bool(self.scheme.bias_correction),
        }
        if self.tried:
            forms = {name: asdict(answers) for name, answers in self.tried}
            facts["settings_measured"] = {"images": self.images, "forms": forms}
        return facts

    @property
    def remark(self) -> str | None:
        """What was decided, in a line; None where nothing was left to measuring."""
        if not self.tried:
            return None
        forms = ", ".join(
            f"{name} {answers.signal_to_noise_db:.1f} dB" for name, answers in self.tried
        )
        return (
            f"{form_name(self.scheme)}: of FP32's answers to {self.images} calibration images, "
            f"alone and together, are left: {forms}"
        )


def form_name(scheme: QuantizationScheme) -> str:
    """The settings in words: "symmetric activations, biases corrected"."""
    kind = "symmetric" if scheme.preset == "performance" else "asymmetric"
    return f"{kind} activations" + (", biases corrected" if scheme.bias_correction else "")


def is_open(scheme: QuantizationScheme) -> bool:
    """Whether a scheme leaves anything to measuring."""
    return bool(_alternatives(scheme))


def tuned(
    scheme: QuantizationScheme, quantize: Callable[[QuantizationScheme, int], Any], judge: Judge
) -> Tuning:
    """Settle what a scheme leaves open: the preset, and whether biases are corrected.

    The fastest form is the first; another takes its place only where it keeps more by more than
    chance. The same images give the same decision.

    Args:
        scheme: its `preset` is "auto", or its `bias_correction` None.
        quantize: makes the INT8 model on so many calibration images.
        judge: holds it against FP32.
    """
    best = replace(
        scheme,
        preset="performance" if scheme.preset == "auto" else scheme.preset,
        bias_correction=bool(scheme.bias_correction),
    )
    if not judge.images:
        return Tuning(best)
    answers = judge.judge(quantize(best, _DECIDED_ON))
    tried = [(form_name(best), answers)]
    for change in _alternatives(scheme):
        if answers.signal_to_noise_db >= _NOTHING_LOST_DB:
            break
        other = replace(best, **change)  # type: ignore[arg-type]
        others_answers = judge.judge(quantize(other, _DECIDED_ON))
        tried.append((form_name(other), others_answers))
        if others_answers.beats(answers):
            best, answers = other, others_answers
    return Tuning(best, judge.images, tuple(tried))


def _alternatives(scheme: QuantizationScheme) -> list[dict[str, object]]:
    """What may take the place of the fastest form, in the order in which it is tried."""
    changes: list[dict[str, object]] = []
    if scheme.preset == "auto" and scheme.activation_type == "u8":
        changes.append({"preset": "mixed"})
    if scheme.bias_correction is None:
        changes.append({"bias_correction": True})
    return changes
