"""What a report says of each bundle, from its manifest and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy_targets.device.messages import ExecutedPrecision
from deploy_targets.measurement import Measurement
from foundation.bundle import MANIFEST, Bundle, Manifest, read_manifest
from foundation.errors import CorruptFileError
from foundation.files import sha256_of
from pipeline.run_folder.records import check_manifest_facts

_SETTINGS = (
    "method", "activation_type", "weight_type", "per_channel", "reduce_range", "calibration",
    "calibration_images", "preset", "bias_correction", "smooth_quant",
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A bundle.

    Attributes:
        manifest: what it says of itself.
        model_bytes: size of the model's files; None where they did not travel with the run.
        executed: what its operators ran in, by host.
    """

    manifest: Manifest
    model_bytes: int | None
    executed: dict[str, ExecutedPrecision]

    @cached_property
    def top1(self) -> dict[str, float]:
        """Accuracy as exported, in percent, by split."""
        accuracy = self.manifest.accuracy
        by_split = {
            "validation": accuracy.get("validation") or {},
            accuracy.get("split", "test"): accuracy,
        }
        top1 = {split: facts.get("top1") for split, facts in by_split.items()}
        return {split: 100 * share for split, share in top1.items() if share is not None}

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % of the accuracy on the test images, in percent."""
        low, high = (self.manifest.accuracy.get(end) for end in ("low", "high"))
        return None if low is None or high is None else (100 * low, 100 * high)

    @property
    def quantization(self) -> dict[str, Any]:
        """The scheme that it was quantised by; empty if it was not."""
        quantization: dict[str, Any] = self.manifest.format_facts.get("quantization", {})
        return quantization

    @property
    def operators_kept(self) -> list[str]:
        """Operators that stayed in higher precision."""
        scheme = self.quantization
        return list(scheme.get("operators_kept") or scheme.get("excluded") or [])

    @property
    def scheme(self) -> str:
        """The settings of the scheme that say something, in words."""
        settings = {name: self.quantization.get(name) for name in _SETTINGS}
        return ", ".join(
            name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}"
            for name, value in settings.items()
            if value not in (None, False, "auto", "none")
        )


def read_exported(folder: Path, measurements: Sequence[Measurement]) -> Exported:
    """A bundle of a run; its checksums are not looked at.

    Raises:
        CorruptFileError: when its manifest cannot be understood.
    """
    manifest = read_manifest(folder)
    if not isinstance(manifest, Manifest):
        raise CorruptFileError(f"{folder}: is no classifier's, as the rest of its run is; move it")
    bundle = Bundle(folder, manifest, sha256_of(folder / MANIFEST))
    check_manifest_facts(folder, bundle.manifest)
    return Exported(
        manifest=bundle.manifest,
        model_bytes=_model_bytes(bundle),
        executed={
            measurement.host.name: measurement.runtime.executed_precision
            for measurement in measurements
            if measurement.bundle.name == folder.name
        },
    )


def _model_bytes(bundle: Bundle) -> int | None:
    try:
        return bundle.model_bytes
    except FileNotFoundError:
        return None
