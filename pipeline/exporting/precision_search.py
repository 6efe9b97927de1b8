"""Trials of one format: bundles made, asked about the validation images, and cleared away."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_targets.comparison import Ratio
from deploy_targets.measuring.compare import CompareOptions, compare, ratio_to_baseline
from export.bundling import make_judged_bundle
from export.formats import FORMATS
from export.original import Original
from export.quantization import QuantizationScheme, other_schemes
from export.requests import TOLERATED_DROP, BundleRequest, ExportSource, learnt_for
from export.searching.search import SearchResult, search
from export.searching.sensitivity import operator_times, rank
from export.searching.trials import ModelVariant, Trial, TrialResult
from foundation.bundle import Manifest, open_bundle
from foundation.metric_values import MetricValues

OnTrial = Callable[[str, TrialResult, int], None]
"""Told a format's name, what was tried, and how many trials are left at most."""

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9]+")
_INT8 = "int8"
_ANY_DROP = 100.0
_OTHER_PRESET = {"performance": "mixed", "mixed": "performance"}
_SETTINGS = ("preset", "bias_correction")


@dataclass(frozen=True)
class Limits:
    """How far a search may go.

    Attributes:
        max_drop: points of validation accuracy below FP32; without labels, percent of the images
            that are answered otherwise.
        max_trials: candidates of a format that are made at most.
        tolerated_drop: points beyond which a trial has failed; see `ExportRecipe`.
    """

    max_drop: float
    max_trials: int
    tolerated_drop: float = TOLERATED_DROP


class FormatTrials:
    """The candidates of one format, and what is known of them.

    Args:
        source: the original, with the validation images on which every candidate is judged.
        request: of any precision of the format, with the target's own scheme.
        precisions: those to try, FP32 aside.
        folder: keeps finished trials, so that a search that was killed goes on, and in `failed/`
            what disagreed with the original.
        original: what is known of the source already, and learns what the trials find out.
    """

    def __init__(
        self,
        source: ExportSource,
        request: BundleRequest,
        precisions: Sequence[str],
        folder: Path,
        original: Original | None = None,
    ) -> None:
        self.source, self._given = source, original
        # What may be lost is the search's to say; where the test images stand in for others too.
        self.request = replace(request, precision="fp32", tolerated_drop=_ANY_DROP)
        self.precisions = [
            precision for precision in precisions if precision not in ("fp32", _INT8)
        ]
        self.with_int8 = _INT8 in precisions
        self.folder = folder
        self._scratch = folder / "scratch"

    def search(self, limits: Limits, depends_on: Sequence[str], on_trial: OnTrial) -> SearchResult:
        """Find the format's best candidates.

        Args:
            limits: where to stop.
            depends_on: what trials depend on besides the candidate.
            on_trial: told of each.

        Raises:
            ExportError: when FP32 itself cannot be made.
            NoSpaceError: when the disk is full.
        """
        schemes = self._schemes() if self.with_int8 else []
        try:
            return search(
                self._make,
                self._rank,
                schemes=schemes,
                limit=limits.max_drop,
                precisions=self.precisions,
                max_trials=limits.max_trials,
                tolerated_drop=limits.tolerated_drop,
                folder=self.folder,
                context=json.dumps([*depends_on, str(self.request)]),
                calibration_images=len(self.source.calibration),
                trained_in_int8=self.source.learnt is not None,
                alternative=self._alternative,
                on_trial=lambda result, left: on_trial(self.request.format, result, left),
            )
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _schemes(self) -> list[QuantizationScheme]:
        """The target's own first. Integers that were learnt have their ranges, as have those of a
        quantiser in PyTorch, and no other calibration changes them."""
        scheme, export_format = self.request.scheme, FORMATS.get(self.request.format)()
        is_learnt = learnt_for(self.source, export_format, _INT8, scheme) is not None
        if is_learnt or export_format.from_network:
            return [scheme]
        return [scheme, *other_schemes(scheme, self.request.format)]

    @cached_property
    def _original(self) -> Original:
        return self._given or Original(self.source, self._scratch)

    @property
    def _onnx_file(self) -> Path:
        return self._original.onnx_file(self.request.opset)

    def _make(self, candidate: ModelVariant) -> Trial:
        request = self.request
        part = self.source.chosen_by
        # A name of its own: what a candidate left in `failed/` is not another's.
        folder = self.folder / f"{request.format}-{_NOT_IN_A_NAME.sub('-', candidate.label)}"
        try:
            metrics: dict[str, MetricValues] = {}
            manifest, right = make_judged_bundle(
                self._original,
                self._onnx_file,
                self._request_of(candidate),
                folder,
                parts=(part,),
                metrics=metrics,
            )
            facts = {"model_bytes": open_bundle(folder).model_bytes} | _settings_of(manifest)
            metric = metrics.get(part)
            return Trial(right[part], bundle=folder.name, facts=facts, metric=metric)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _request_of(self, candidate: ModelVariant) -> BundleRequest:
        return replace(self.request, precision=candidate.precision, scheme=candidate.scheme)

    def _alternative(self, result: TrialResult) -> ModelVariant | None:
        """An INT8 model with activations of the other kind; where its format has one, and integers
        were not learnt."""
        facts = result.trial.facts if result.trial else {}
        other = _OTHER_PRESET.get(facts.get("preset", ""))
        scheme = result.candidate.scheme
        if other is None or scheme.preset != "auto" or scheme.activation_type != "u8":
            return None
        corrected = facts.get("bias_correction")
        return ModelVariant(_INT8, replace(scheme, preset=other, bias_correction=corrected))

    def faster(
        self, first: TrialResult, second: TrialResult, host: str, options: CompareOptions
    ) -> tuple[TrialResult, Ratio]:
        """The faster of two trials, timed in turns on a host; the first, unless the second is shown
        to be faster.

        Returns:
            The trial, and the second's latency over the first's.

        Raises:
            HostError: when the host fails.
        """
        folders = [
            self.folder / "timed" / f"{place}-{result.trial.bundle}"
            for place, result in enumerate((first, second))
            if result.trial
        ]
        try:
            for folder, result in zip(folders, (first, second), strict=True):
                request = self._request_of(result.candidate)
                make_judged_bundle(self._original, self._onnx_file, request, folder, parts=())
            one, other = compare(folders, host, options).candidates
        finally:
            shutil.rmtree(self.folder / "timed", ignore_errors=True)
        ratio = ratio_to_baseline(other.round_ms, one.round_ms)
        return (second if ratio.high < 1 else first), ratio

    def _rank(self, scheme: QuantizationScheme) -> list[str]:
        """Operators by what they cost, the most expensive to quantise first; their names are those
        of the ONNX graph, so that there are none in a format that is made of the network."""
        if FORMATS.get(self.request.format).from_network:
            return []
        images = self.source.preprocessing.apply(self.source.calibration)
        fp32, int8 = (self._plain_model(kind, scheme, images) for kind in ("fp32", _INT8))
        times = operator_times(self._onnx_file, fp32, int8, self.request.format, images[:1])
        return [cost.operator for cost in rank(self._onnx_file, images, scheme, times)]

    def _plain_model(
        self, precision: str, scheme: QuantizationScheme, images: NDArray[np.float32]
    ) -> Path:
        """A model as the format writes it, checked by nobody: only its operators are timed."""
        folder = self._scratch / f"timed-{precision}"
        folder.mkdir(parents=True, exist_ok=True)
        written = FORMATS.get(self.request.format)().write(
            self._onnx_file, precision, folder, images, scheme
        )
        return folder / written.model_file


def _settings_of(manifest: Manifest) -> dict[str, Any]:
    """How a bundle was quantised, where that was left to measuring."""
    facts = manifest.format_facts.get("quantization", {})
    return {name: facts[name] for name in _SETTINGS if name in facts}
