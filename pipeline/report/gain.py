"""What distillation gained: the student against the same one trained alone on the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gain:
    """Both students on the test images.

    Attributes:
        alone, distilled: top-1, in percent.
        n: images.
        epochs: that either was trained for.
    """

    alone: float
    distilled: float
    n: int
    epochs: int

    @property
    def points(self) -> float:
        """Percentage points that distillation gained; less than zero where it lost."""
        return self.distilled - self.alone


def gain_of(
    networks: Mapping[str, Mapping[str, Any]], training: Mapping[str, Any] | None
) -> Gain | None:
    """What was gained; None where no student was trained alone, or nobody knows the labels.

    Args:
        networks: what run.json tells of them.
        training: metrics of the student that was trained alone.
    """
    alone = networks.get("alone", {}).get("test")
    distilled = networks.get("student", {}).get("test")
    if training is None or alone is None or distilled is None:
        return None
    epochs = training["last"]["epoch"]
    return Gain(100 * alone["top1"], 100 * distilled["top1"], distilled["n"], epochs)
