"""From a graph that is no classifier to bundles: written, held against the original, sealed."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from export._folders import replacing_folder, scratch_folder
from export._libraries import failing_as
from export.card import graph_card
from export.checking.outputs import (
    accuracy_facts,
    agreements_of,
    check_outputs,
    parity_facts,
    scores_of,
)
from export.formats import FORMATS, Written
from export.graph_requests import ROLE, GraphSource, check_graph_requests
from export.graphs.any_graph import clean_graph, graph_predictor
from export.graphs.postprocessing import floating_operators
from export.requests import BundleRequest, bundle_name
from export.runtimes import runtime_of
from foundation.bundle import CARD, PROBE, GraphManifest, checksums, write_manifest
from foundation.digests import settle
from foundation.errors import CompressError, ExportError
from foundation.files import check_inside, sha256_of, write_json, write_text
from foundation.graph_bundle import probe_arrays

logger = logging.getLogger(__name__)

Failed = Callable[[BundleRequest, ExportError], None]


def make_graph_bundles(
    source: GraphSource,
    requests: Sequence[BundleRequest],
    root: Path,
    on_progress: Callable[[str], None],
    *,
    on_remark: Callable[[str], None],
    on_failed: Failed | None = None,
) -> list[GraphManifest]:
    """Make the requested bundles, each in its folder under `root`, in the order of `requests`.

    Args:
        source: the original.
        requests: what is wanted of it.
        root: takes the bundles' folders.
        on_progress: told what is being made.
        on_remark: told what could not be done as usual.
        on_failed: told of a bundle of lower precision that failed its checks, which is left out
            then; None raises what it would be told.

    Raises:
        UnknownNameError, UsageError, ExportError: as `check_graph_requests`; ExportError when a
            written graph does not agree with the original, or its score falls too far.
        NoSpaceError: when the disk is full.
    """
    check_inside(root)
    check_graph_requests(source, requests)
    manifests = []
    with scratch_folder(root / ".export.tmp") as scratch:
        original = _Original(source, scratch, on_remark)
        for request in requests:
            name = bundle_name(ROLE, request)
            on_progress(f"{name}: writing and checking")
            try:
                manifests.append(_make_bundle(original, request, root / name))
            except ExportError as error:
                if on_failed is None or request.precision == "fp32":
                    raise
                on_failed(request, error)
    return manifests


class _Original:
    """A source, and what is found out of it once for all its bundles."""

    def __init__(self, source: GraphSource, scratch: Path, remark: Callable[[str], None]) -> None:
        self.source, self._scratch, self.remark = source, scratch, remark

    def onnx_file(self, opset: int) -> Path:
        """The graph as clean FP32 ONNX of an operator set."""
        path = self._scratch / f"opset-{opset}.onnx"
        if not path.exists():
            for line in clean_graph(self.source.model, path, opset):
                self.remark(f"the graph {line}")
        return path

    @cached_property
    def scores(self) -> dict[str, float]:
        """What the scorer gives the graph as it is written."""
        scoring, names = self.source.scoring, self.source.output_names
        assert scoring is not None, "somebody scores"
        return scores_of(scoring, graph_predictor(self.source.model, names), names)


def _make_bundle(original: _Original, request: BundleRequest, folder: Path) -> GraphManifest:
    """One bundle; it stands at `folder` only if every check passed."""
    source, precision, name = original.source, request.precision, folder.name
    began = time.perf_counter()
    export_format = FORMATS.get(request.format)()
    with (
        replacing_folder(folder) as temporary,
        failing_as(f"{name}: cannot be made", "try another format, opset or scheme"),
    ):
        written = _written(original, request, temporary)
        np.savez(temporary / PROBE, **_probe(source))
        settle(temporary / PROBE)
        with _keeping_failure(temporary, folder.parent / "failed" / name) as facts:
            predict = export_format.load_graph(temporary / written.model_file, source.output_names)
            agreements = agreements_of(source, predict, name)
            facts["parity"] = parity_facts(agreements, precision)
            if source.scoring is not None:
                before = original.scores
                scores = scores_of(source.scoring, predict, source.output_names)
                facts["accuracy"] = accuracy_facts(
                    source.scoring, scores, before, request.tolerated_drop, name
                )
            _judge(agreements, request, facts, name)
        manifest = GraphManifest(
            name=name,
            role=ROLE,
            target=request.target,
            format=request.format,
            precision=precision,
            model_file=written.model_file,
            inputs=list(source.inputs),
            outputs=list(source.outputs),
            files=checksums(temporary),
            opset=written.facts.get("opsets", {}).get("ai.onnx"),
            runtime=request.runtime or runtime_of(request.format, written.facts),
            format_facts=written.facts,
            parity=facts["parity"],
            accuracy=facts.get("accuracy", {}),
            origin=source.origin,
        )
        write_text(temporary / CARD, graph_card(manifest, temporary))
        card = {CARD: sha256_of(temporary / CARD)}
        manifest = replace(manifest, files=dict(sorted((manifest.files | card).items())))
        write_manifest(temporary, manifest)
    logger.info("%s: made in %.1f s, %s", name, time.perf_counter() - began, facts)
    return manifest


def _written(original: _Original, request: BundleRequest, folder: Path) -> Written:
    """The model's files; of INT8, all that decodes and chooses stays in floating point."""
    onnx_file, scheme = original.onnx_file(request.opset), request.scheme
    if request.precision == "int8" and scheme.method == "static":
        excluded = (*scheme.excluded, *floating_operators(onnx_file))
        scheme = replace(scheme, excluded=tuple(dict.fromkeys(excluded)))
    export_format = FORMATS.get(request.format)()
    return export_format.write(
        onnx_file, request.precision, folder, original.source.calibration, scheme
    )


def _probe(source: GraphSource) -> dict[str, Any]:
    return probe_arrays(list(source.probe.feeds()), source.reference)


def _judge(
    agreements: Sequence[Any], request: BundleRequest, facts: dict[str, Any], name: str
) -> None:
    """A scorer says what lower precision costs; without one, and of FP32, every output does.

    Raises:
        ExportError: when it costs too much, or an output is not the original's.
    """
    if request.precision == "fp32" or "accuracy" not in facts:
        check_outputs(agreements, request.precision, name)
        return
    drop = facts["accuracy"]["drop"]
    # Written so that a figure that is not a number keeps nothing.
    if not drop <= request.tolerated_drop:
        first, score = next(iter(facts["accuracy"]["scores"].items()))
        before = facts["accuracy"]["original"][first]
        raise ExportError(
            f"{name}: {request.precision} scores {first} {score:.4g}, {drop:.2f} points below the "
            f"original's {before:.4g}, allowed are {request.tolerated_drop:g}; use fp16 or fp32, "
            "more calibration samples, or allow more (--max-drop)"
        )


@contextlib.contextmanager
def _keeping_failure(made: Path, failed: Path) -> Iterator[dict[str, Any]]:
    """Checks inside fill in what they found, and may raise an `ExportError`; what was made is kept
    then, to find out why."""
    facts: dict[str, Any] = {}
    try:
        yield facts
    except ExportError as error:
        with contextlib.suppress(CompressError, OSError), replacing_folder(failed) as folder:
            shutil.copytree(made, folder, dirs_exist_ok=True)
            write_json(folder / "parity.json", {"error": str(error), **facts})
        evidence = f"; what was made is kept in {failed}" if failed.exists() else ""
        raise ExportError(f"{error}{evidence}") from error
    shutil.rmtree(failed, ignore_errors=True)
    with contextlib.suppress(OSError):  # others may have failed
        failed.parent.rmdir()
