"""Trials of a search: what was made and measured, held against FP32, and kept in files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.quantization import QuantizationScheme
from foundation.errors import CorruptFileError
from foundation.files import write_json
from foundation.metric_values import MetricValues
from foundation.records import as_dict, read_record
from foundation.sense import above_zero, bits_set
from foundation.statistics import paired_difference


@dataclass(frozen=True)
class ModelVariant:
    """A model that could be made: a precision, and how to quantise where it is INT8."""

    precision: str
    scheme: QuantizationScheme = field(default_factory=QuantizationScheme)

    @property
    def label(self) -> str:
        """A few words for a progress line."""
        if self.precision != "int8":
            return self.precision
        count = len(self.scheme.excluded)
        in_float = f", {count} operator{'s' if count > 1 else ''} kept" if count else ""
        corrected = ", biases corrected" if self.scheme.bias_correction else ""
        kind = {"performance": ", symmetric", "mixed": ", asymmetric"}.get(self.scheme.preset, "")
        return f"int8 {self.scheme.calibration}{kind}{corrected}{in_float}"

    def as_dict(self) -> dict[str, Any]:
        """What makes a difference, as plain JSON values."""
        if self.precision != "int8":
            return {"precision": self.precision}
        scheme = asdict(self.scheme) | {"excluded": list(self.scheme.excluded)}
        scheme.pop("reason")  # words change nothing
        return {"precision": "int8", "scheme": scheme}


@dataclass(frozen=True, eq=False)
class Trial:
    """What the caller measured of a candidate.

    Attributes:
        correct: whether each validation image was named rightly, shape (N,), in the same order
            for every candidate.
        milliseconds: time of one image; None if it was not measured.
        bundle: what the caller calls the model that it made.
        facts: whatever else is to be recorded, as plain JSON values.
        metric: what the metric beside top-1 says of the same images, by which the drop is counted
            where there is one.
    """

    correct: NDArray[np.bool_]
    milliseconds: float | None = None
    bundle: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    metric: MetricValues | None = None


@dataclass(frozen=True, eq=False)
class TrialResult:
    """A trial held against FP32 on the same images.

    Attributes:
        candidate: what was made.
        trial: what was measured; None if it could not be made.
        drop: accuracy lost, in points, or what the metric lost, in its unit; below zero where it
            rose.
        low, high: its 95 % confidence interval.
        error: why it could not be made.
        resumed: it was made by an earlier call.
    """

    candidate: ModelVariant
    trial: Trial | None
    drop: float = math.nan
    low: float = math.nan
    high: float = math.nan
    error: str = ""
    resumed: bool = False

    def meets(self, limit: float) -> bool:
        """Whether the accuracy falls by no more than `limit` points."""
        return self.trial is not None and self.drop <= limit

    @property
    def accuracy(self) -> float:
        """Share of the validation images, 0..1."""
        return float(self.trial.correct.mean()) if self.trial else math.nan

    def as_dict(self) -> dict[str, Any]:
        """The trial as plain JSON values, without the single images."""
        common = {"candidate": self.candidate.as_dict(), "label": self.candidate.label}
        if self.trial is None:
            return common | {"error": self.error}
        return common | {
            "accuracy": self.accuracy,
            "n": len(self.trial.correct),
            "drop": self.drop,
            "low": self.low,
            "high": self.high,
            "milliseconds": self.trial.milliseconds,
            "bundle": self.trial.bundle,
            "facts": self.trial.facts,
        }


@dataclass(frozen=True)
class _TrialFile:
    """A trial as it is kept, or why there is none.

    Attributes:
        correct: a bit for each image, as hexadecimal digits.
        n: images.
    """

    candidate: dict[str, Any]
    error: str
    correct: str = ""
    n: int = 0
    milliseconds: float | None = None
    bundle: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    metric: MetricValues | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(milliseconds=self.milliseconds)
        if not self.error and (self.n < 1 or bits_set(self.correct, self.n) is None):
            yield f"correct must be the bits of {self.n} images, but got {self.correct[:80]!r}"

    def trial(self) -> Trial:
        """The trial, where there is one."""
        bits = np.frombuffer(bytes.fromhex(self.correct), np.uint8)
        correct = np.unpackbits(bits, count=self.n).astype(bool)
        return Trial(correct, self.milliseconds, self.bundle, self.facts, self.metric)


def paired_drop(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Accuracy lost from `before` to `after` on the same images, with its 95 % interval, in points.

    Raises:
        ValueError: when they are not of the same images.
    """
    if before.shape != after.shape or before.ndim != 1 or not before.size:
        raise ValueError(f"must be of the same images, but got {before.shape} and {after.shape}")
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    drop, low, high = paired_difference(lost, won, before.size)
    return 100 * drop, 100 * low, 100 * high


class TrialFiles:
    """Finished trials, one file each in a folder; without a folder none is kept."""

    def __init__(self, folder: Path | None, context: str) -> None:
        """`context`: what a trial depends on besides its candidate."""
        self._folder = folder
        self._context = context

    def write(self, candidate: ModelVariant, trial: Trial | None, error: str) -> None:
        """Keep a trial, or the reason why there is none."""
        if self._folder is None:
            return
        content: dict[str, Any] = {"candidate": candidate.as_dict(), "error": error}
        if trial:
            content |= {
                "correct": np.packbits(trial.correct).tobytes().hex(),
                "n": len(trial.correct),
                "milliseconds": trial.milliseconds,
                "bundle": trial.bundle,
                "facts": trial.facts,
            }
        if trial and trial.metric is not None:
            content["metric"] = as_dict(trial.metric)
        write_json(self._file(self._folder, candidate), content)

    def read(self, candidate: ModelVariant) -> tuple[Trial | None, str] | None:
        """What `write` kept; None if it kept nothing, or nothing that can be read any more."""
        if self._folder is None or not (file := self._file(self._folder, candidate)).is_file():
            return None
        try:
            stored = read_record(file, _TrialFile, "a trial", "delete it")
        except CorruptFileError:
            return None
        return (None, stored.error) if stored.error else (stored.trial(), "")

    def _file(self, folder: Path, candidate: ModelVariant) -> Path:
        text = json.dumps([candidate.as_dict(), self._context], sort_keys=True)
        return folder / f"trial-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
