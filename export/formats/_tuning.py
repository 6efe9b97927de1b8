"""What of NNCF's settings a network is quantised with, where the scheme leaves it to measuring.

Activations that are symmetric around zero need no correction for their zero points: on a network of
ReLU6 that was 0.87 of the time, and elsewhere no more time. Asymmetric ones have twice the steps
where values have one sign and a little of the other. Correcting biases costs calibration time and
no time at all in the model: it is tried where something is lost.

Every form is made with all calibration images. With a quarter of them the ranges cut so much off
that it hid what corrected biases were worth on EfficientNet-Lite0: 0.2 dB by 64 images, 2.5 by 256.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from export.formats._answers_kept import AnswersKept, Judge
from export.quantization import QuantizationScheme

_NOTHING_LOST_DB = 30.0


@dataclass(frozen=True)
class Tuning:
    """The settings that were chosen, and why.

    Attributes:
        scheme: with a preset and a bias correction.
        model: what is quantised so; None where nothing was measured.
        images: number of images that the forms were asked about; 0 where nothing was measured.
        tried: what each form kept, in the order in which they were tried.
    """

    scheme: QuantizationScheme
    model: Any = None
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
    scheme: QuantizationScheme, quantize: Callable[[QuantizationScheme], Any], judge: Judge
) -> Tuning:
    """Settle what a scheme leaves open: the preset, and whether biases are corrected.

    The fastest form is the first; another takes its place only where it keeps more by more than
    chance. The same images give the same decision.

    Args:
        scheme: its `preset` is "auto", or its `bias_correction` None.
        quantize: makes the INT8 model.
        judge: holds it against FP32.
    """
    best = replace(
        scheme,
        preset="performance" if scheme.preset == "auto" else scheme.preset,
        bias_correction=bool(scheme.bias_correction),
    )
    if not judge.images:
        return Tuning(best)
    model = quantize(best)
    answers = judge.judge(model)
    tried = [(form_name(best), answers)]
    for change in _alternatives(scheme):
        if answers.signal_to_noise_db >= _NOTHING_LOST_DB:
            break
        other = replace(best, **change)  # type: ignore[arg-type]
        others_model = quantize(other)
        others_answers = judge.judge(others_model)
        tried.append((form_name(other), others_answers))
        if others_answers.beats(answers):
            best, model, answers = other, others_model, others_answers
    return Tuning(best, model, judge.images, tuple(tried))


def _alternatives(scheme: QuantizationScheme) -> list[dict[str, object]]:
    """What may take the place of the fastest form, in the order in which it is tried."""
    changes: list[dict[str, object]] = []
    if scheme.preset == "auto" and scheme.activation_type == "u8":
        changes.append({"preset": "mixed"})
    if scheme.bias_correction is None:
        changes.append({"bias_correction": True})
    return changes
