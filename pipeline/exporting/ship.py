"""Ship: try the precisions, time what is left against each other, and choose what goes out."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy_targets import comparison
from deploy_targets.hosts import open_host
from deploy_targets.measuring.compare import (
    CompareOptions,
    compare,
    ratio_to_baseline,
    write_comparison,
)
from deploy_targets.targets import Target, load_target
from export._folders import scratch_folder
from export.requests import TOLERATED_DROP, BundleMetric, BundleRequest, bundle_name
from foundation.bundle import open_bundle
from foundation.errors import ExportError
from foundation.files import sha256_of
from pipeline.benching.timed_step import timed_step
from pipeline.data.facts import CALIBRATION, TEST, VALIDATION
from pipeline.exporting.candidates import (
    FULL,
    SAME_ANSWERS,
    ShippingCandidate,
    Speedup,
    keeps_limit,
    speedup_of,
)
from pipeline.exporting.choice import Shipping, choose, read_shipping, write_shipping
from pipeline.exporting.export import (
    data_products,
    export_source,
    judged_by,
    requests_for,
    step_name,
    weights_of,
    write_bundles,
)
from pipeline.exporting.learnt_stage import learnt_origin
from pipeline.recipe.file import recipe_values
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.recipe.sections.export import ExportRecipe
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.target_profiles import remember_target

if TYPE_CHECKING:
    from export.original import Original
    from export.searching.search import SearchResult
    from export.searching.trials import TrialResult
    from pipeline.exporting.precision_search import FormatTrials, OnTrial

logger = logging.getLogger(__name__)

_KIND = {"performance": "symmetric", "mixed": "asymmetric"}
_QUANTISERS = ("onnxruntime", "openvino", "nncf")
_TIMING = CompareOptions(rounds=8, queries=100, max_seconds=12.0)


@dataclass(frozen=True)
class ShippingWatch:
    """Who is told what happens.

    Attributes:
        say: a line for each thing made.
        on_trial: each trial.
        on_round: each step of the timing, as `deploy_targets.measuring.compare.compare` tells it.
    """

    say: Callable[[str], None]
    on_trial: OnTrial
    on_round: Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class _Finalist:
    """A bundle that could ship, with the trial in which it was judged."""

    request: BundleRequest
    result: TrialResult
    folder: Path


@dataclass
class _Searched:
    """How many trials the searches of all formats took, and what did not go as it should."""

    trials: int = 0
    notes: list[str] = field(default_factory=list)


def ship(
    run: RunFolder,
    recipe: ExportRecipe,
    bench: BenchRecipe,
    watch: ShippingWatch,
    metric: BundleMetric | None = None,
) -> list[Path]:
    """Leave the bundles that could ship, and `shipping.json`, which says which does and why.

    Nothing is done again that depends on nothing new.

    Args:
        run: the run folder, with a student in it.
        recipe: what to export; of its targets the first.
        bench: the host to time on; bundles for another architecture than its are not timed.
        watch: told what happens.
        metric: what the limit is of, in its unit; None takes top-1, in points.

    Returns:
        The bundles' folders.

    Raises:
        UsageError: when the target takes none of the asked formats.
        ExportError: when FP32 itself cannot be exported, in any of the formats.
        HostError: when the host fails.
        NoSpaceError: when the disk is full; finished trials stay.
    """
    target, limit = load_target(recipe.targets[0]), recipe.limit
    depends_on = {
        "weights": weights_of(run, "student"),
        "learnt": learnt_origin(run),
        "data": data_products(run),
        "code": run.record().get("code", {}).get("student"),
        "export": recipe_values(recipe),
        "host": bench.host,
        **judged_by(metric),
    }
    notes = remember_target(run, recipe.targets[0], target)
    with run.step(step_name(target.name, "student"), **depends_on) as step:
        for note in notes:
            step.remark(note)
        if step.needed:
            from export.original import Original  # noqa: PLC0415 - torch

            started = time.monotonic()
            with scratch_folder(run.trials / ".original.tmp") as scratch:
                source = export_source(run, "student", chooses=True, metric=metric)
                original = Original(source, scratch)
                outcome = _finalists(
                    run, target, recipe, bench, watch, remark=step.remark, original=original
                )
            finalists, searched, files = outcome
            timed = _timed(run, target, finalists, bench, watch)
            judged = SAME_ANSWERS if source.has_no_labels else None
            candidates = _candidates(finalists, timed, limit, target, judged)
            learnt = learnt_origin(run) is not None
            choice = choose(candidates, limit, trained_in_int8=learnt)
            shipping = Shipping(
                target=target.name,
                max_drop=limit,
                chosen=choice.chosen,
                met=choice.met,
                reason=choice.reason,
                advice=choice.advice,
                measured_on=bench.host if timed else None,
                candidates=candidates,
                trials=searched.trials,
                notes=searched.notes,
                seconds=round(time.monotonic() - started, 3),
            )
            logger.info("ships %s: %s", choice.chosen, choice.reason)
            write_shipping(run.shipping_path, shipping)
            step.products = [run.shipping_path, *files]
    candidates = read_shipping(run.shipping_path).candidates
    return sorted(run.bundles / candidate.bundle for candidate in candidates)


def _finalists(
    run: RunFolder,
    target: Target,
    recipe: ExportRecipe,
    bench: BenchRecipe,
    watch: ShippingWatch,
    *,
    remark: Callable[[str], None],
    original: Original,
) -> tuple[list[_Finalist], _Searched, list[Path]]:
    """FP32 and the best of each other precision, for each format; what else is known of the
    searches; and the files of the bundles.

    A format that cannot take the network at all is left out with a note, if there is another.
    """
    from pipeline.exporting.precision_search import FormatTrials  # noqa: PLC0415 - torch

    source = original.source
    chosen: list[tuple[BundleRequest, TrialResult]] = []
    searched, failures = _Searched(), list[ExportError]()
    for requests in _by_format(requests_for(target, recipe)):
        precisions = [request.precision for request in requests]
        trials = FormatTrials(source, requests[0], precisions, run.trials, original)
        name = requests[0].format
        try:
            result = _search(run, trials, recipe, watch)
        except ExportError as error:
            failures.append(error)
            searched.notes.append(f"{name} is left out: {error}")
            continue
        searched.trials += len(result.trials)
        searched.notes += [f"{name}: {note}" for note in result.notes]
        if trials.with_int8 and result.gap is None:
            searched.notes.append(f"{name}: {_no_int8(result)}")
        for best in _best_by_precision(result):
            trial = _faster_form(trials, best, result, target, bench, notes=searched.notes)
            chosen.append((_request_of(requests[0], trial), trial))
    if not chosen:
        raise failures[0]
    failed: list[BundleRequest] = []

    def leave_out(request: BundleRequest, error: ExportError) -> None:
        failed.append(request)
        searched.notes.append(f"{bundle_name('student', request)} is left out: {error}")

    requests = [request for request, _ in chosen]
    files = write_bundles(
        run, source, requests, watch.say, remark, on_failed=leave_out, original=original
    )
    finalists = [
        _Finalist(request, result, run.bundles / bundle_name("student", request))
        for request, result in chosen
        if request not in failed
    ]
    return finalists, searched, files


def _no_int8(result: SearchResult) -> str:
    errors = [
        trial_result.error
        for trial_result in result.trials
        if trial_result.candidate.precision == "int8"
    ]
    why = f" ({errors[0].split('; ')[0]})" if errors else ""
    return (
        f"no INT8 model could be made in {len(result.trials)} trials{why}; more of them "
        "(export.max_trials) keep more operators in floating point"
    )


def _by_format(requests: Sequence[BundleRequest]) -> list[list[BundleRequest]]:
    formats: dict[str, list[BundleRequest]] = {}
    for request in requests:
        formats.setdefault(request.format, []).append(request)
    return list(formats.values())


def _search(
    run: RunFolder, trials: FormatTrials, recipe: ExportRecipe, watch: ShippingWatch
) -> SearchResult:
    from pipeline.exporting.precision_search import Limits  # noqa: PLC0415 - torch

    limits = Limits(recipe.limit or 0.0, recipe.max_trials, recipe.tolerated)
    depends_on = [
        weights_of(run, "student") or "",
        json.dumps(learnt_origin(run), sort_keys=True),
        *(sha256_of(run.data / images) for images in (CALIBRATION, VALIDATION)),
        *([sha256_of(run.data / TEST)] if trials.source.has_no_labels else []),
        *(f"{package} {version(package)}" for package in _QUANTISERS),
        *judged_by(trials.source.metric).values(),
    ]
    return trials.search(limits, depends_on, watch.on_trial)


def _best_by_precision(result: SearchResult) -> list[TrialResult]:
    """FP32 first; of several INT8 trials the one with fewest operators kept that meets the limit,
    or else the most accurate."""
    made: dict[str, list[TrialResult]] = {}
    for trial_result in result.trials:
        if trial_result.trial is not None:
            made.setdefault(trial_result.candidate.precision, []).append(trial_result)

    def worth(trial_result: TrialResult) -> tuple[bool, float]:
        if trial_result.meets(result.limit):
            return False, len(trial_result.candidate.scheme.excluded)
        return True, trial_result.drop

    return [min(trials, key=worth) for trials in made.values()]


def _faster_form(
    trials: FormatTrials,
    best: TrialResult,
    result: SearchResult,
    target: Target,
    bench: BenchRecipe,
    *,
    notes: list[str],
) -> TrialResult:
    """Of two forms of INT8 that both keep the limit, the one that is faster on the host.

    Where nothing can be timed it is the one that the quantiser has settled on; `notes` says which.
    """
    others = [
        trial
        for trial in result.trials
        if trial.meets(result.limit) and {_preset_of(best), _preset_of(trial)} == set(_KIND)
    ]
    if best.candidate.precision != "int8" or not others or not best.meets(result.limit):
        return best
    other = others[0]
    if open_host(bench.host).facts().arch != target.arch:
        return best
    options = replace(_TIMING, threads=bench.threads or target.threads)
    faster, ratio = trials.faster(best, other, bench.host, options)
    notes.append(
        f"{trials.request.format}: int8 with {_KIND[_preset_of(other)]} activations takes "
        f"{ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) of the time of "
        f"{_KIND[_preset_of(best)]} ones, {other.drop - best.drop:+.2f} points lost beside them; "
        f"{_KIND[_preset_of(faster)]} ones it is"
    )
    return faster


def _preset_of(result: TrialResult) -> str:
    """How a trial's activations were rounded, where its format has a choice: else nothing."""
    return str(result.trial.facts.get("preset", "")) if result.trial else ""


def _request_of(request: BundleRequest, result: TrialResult) -> BundleRequest:
    candidate = result.candidate
    # A looser limit makes no other bundle: what was timed before need not be timed anew.
    request = replace(request, tolerated_drop=TOLERATED_DROP)
    scheme = candidate.scheme if candidate.precision == "int8" else request.scheme
    return replace(request, precision=candidate.precision, scheme=scheme)


def _timed(
    run: RunFolder,
    target: Target,
    finalists: Sequence[_Finalist],
    bench: BenchRecipe,
    watch: ShippingWatch,
) -> dict[str, comparison.Candidate]:
    """What the host brought back, by bundle; nothing where it is no such machine as the target."""
    machine = open_host(bench.host).facts().arch
    if machine != target.arch:
        watch.say(f"not timed: {target.name} is {target.arch}, host {bench.host} is {machine}")
        return {}
    if len(finalists) < 2:
        return {}
    # A budget for each as `bench` gives it, but no more than shows a difference.
    seconds = min(_TIMING.max_seconds, bench.max_seconds * len(finalists))
    threads = bench.threads or target.threads
    options = replace(_TIMING, threads=threads, max_seconds=seconds)
    bundles = [open_bundle(finalist.folder) for finalist in finalists]
    path = run.path / "comparison.json"
    depends_on = {
        "bundles": {bundle.folder.name: bundle.manifest_sha256 for bundle in bundles},
        "host": bench.host,
        "options": asdict(options),
        "schema": comparison.SCHEMA_VERSION,
    }

    def time_it(*, journal: Path, remark: Callable[[str], None]) -> comparison.Comparison:
        return compare(bundles, bench.host, options, watch.on_round, journal, remark=remark)

    name = f"compare {target.name}"
    timed_step(run, name, path, time_it, write_comparison, depends_on=depends_on)
    return {
        candidate.bundle.name: candidate
        for candidate in comparison.read_comparison(path).candidates
    }


def _candidates(
    finalists: Sequence[_Finalist],
    timed: dict[str, comparison.Candidate],
    max_drop: float | None,
    target: Target,
    judged_by: str | None,
) -> list[ShippingCandidate]:
    """`judged_by`: what drops are of, where that is neither top-1 nor told by the trials."""
    full = {
        finalist.request.format: finalist.folder.name
        for finalist in finalists
        if finalist.request.precision == FULL
    }
    return [
        _candidate(
            finalist, timed, full.get(finalist.request.format), max_drop, target,
            judged_by=judged_by,
        )
        for finalist in finalists
    ]  # fmt: skip


def _candidate(
    finalist: _Finalist,
    timed: dict[str, comparison.Candidate],
    full: str | None,
    max_drop: float | None,
    target: Target,
    *,
    judged_by: str | None,
) -> ShippingCandidate:
    name, result = finalist.folder.name, finalist.result
    export_format, precision = finalist.request.format, finalist.request.precision
    is_full = precision == FULL
    measured = timed.get(name)
    return ShippingCandidate(
        bundle=name,
        format=export_format,
        precision=precision,
        validation_top1=result.accuracy,
        drop=result.drop,
        # Against itself there is nothing to be unsure of.
        drop_low=0.0 if is_full else result.low,
        drop_high=0.0 if is_full else result.high,
        model_bytes=open_bundle(finalist.folder).model_bytes,
        p50_ms=measured.latency_ms.p50 if measured else None,
        ratio=None if is_full else _speedup(measured, timed.get(full or "")),
        executed=measured.runtime.executed_precision.summary if measured else None,
        meets_limit=keeps_limit(result.drop, max_drop),
        excluded=[] if is_full else list(result.candidate.scheme.excluded),
        metric=_metric_of(result) or judged_by,
        published=None if measured else target.published_ratio(export_format, precision),
    )


def _metric_of(result: TrialResult) -> str | None:
    """The value that a drop is of, where that is not top-1."""
    values = result.trial.metric if result.trial else None
    return None if values is None else values.first


def _speedup(
    measured: comparison.Candidate | None, full: comparison.Candidate | None
) -> Speedup | None:
    if measured is None or full is None:
        return None
    return speedup_of(ratio_to_baseline(measured.round_ms, full.round_ms))
