"""What a report's page shows: its plots, tables and pictures, section by section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from deploy_targets.measurement import scenario_words
from foundation.answers import Answers
from pipeline.report.answer_plots import class_plot, layer_plot, reliability_plot
from pipeline.report.answers import classes_worth
from pipeline.report.content import ReportContent
from pipeline.report.details import ReportDetails
from pipeline.report.flips import Flips, flips_of
from pipeline.report.front import FrontPoint, placed, point_of
from pipeline.report.headline import Headline
from pipeline.report.latency_plots import latency_plots, without_samples
from pipeline.report.looked_into import LookedIntoPlots, plots_of
from pipeline.report.matrices import Matrix, confusion_matrix, retention_matrix
from pipeline.report.step_plots import step_plots
from pipeline.report.training_plots import training_plots
from pipeline.shown.measurements import ran_in
from pipeline.shown.pages.plots import Plot


@dataclass(frozen=True)
class PageParts:
    """The parts of a page, beside what `ReportContent` says.

    Attributes:
        points: of the front.
        steps, training, latency, answers, layers: plots by section.
        retention: what is left of each stage.
        confusions: before and after.
        flips: of what ships against what it stands in for, then against its own FP32.
        lacking: why a section is not there, a line each, by section.
        looked_into: operators, and bundles at work for long.
    """

    points: list[FrontPoint] = field(default_factory=list)
    steps: list[Plot] = field(default_factory=list)
    training: list[Plot] = field(default_factory=list)
    latency: list[Plot] = field(default_factory=list)
    answers: list[Plot] = field(default_factory=list)
    layers: list[Plot] = field(default_factory=list)
    retention: Matrix | None = None
    confusions: list[Matrix] = field(default_factory=list)
    flips: list[Flips] = field(default_factory=list)
    lacking: dict[str, str] = field(default_factory=dict)
    looked_into: LookedIntoPlots = field(default_factory=LookedIntoPlots)

    @property
    def plots(self) -> list[Plot]:
        """All of them."""
        own = [*self.steps, *self.training, *self.latency, *self.answers, *self.layers]
        return [*own, *self.looked_into.plots]


def parts_of(content: ReportContent, details: ReportDetails | None, step_caption: str) -> PageParts:
    """The parts of a run's page.

    Args:
        content: the figures.
        details: what lies beside them; None where nobody looked.
        step_caption: what the waterfall's caption says.

    Raises:
        CorruptFileError: when the test images cannot be read.
    """
    details = details or ReportDetails()
    pairs = _pairs(content, details)
    main = pairs[0] if pairs else None
    names = content.data.classes
    of_interest = _of_interest(content, details)
    return PageParts(
        points=placed([point_of(m, shipped=content.shipped) for m in content.plain]),
        steps=step_plots(content.waterfall, content.shipped, step_caption),
        training=training_plots(content),
        latency=latency_plots(content.plain, content.shipped),
        answers=[
            *([_class_plot(main, details, names)] if main else []),
            *([reliability_plot(of_interest)] if of_interest else []),
        ],
        layers=[
            layer_plot(place, name, report)
            for place, (name, report) in enumerate(details.layers.items())
            if report["layers"]
        ],
        retention=retention_matrix(details),
        confusions=[confusion_matrix(name, details.answers[name], names) for name in main or ()],
        flips=[flips_of(pair, details, names) for pair in pairs],
        lacking=_lacking(content, details, main),
        looked_into=plots_of(content.operators, content.sustained),
    )


def basis_of(headline: Headline) -> str:
    """On what and how the shipped bundle was measured, in a sentence."""
    measurement = headline.shipped
    facts, runtime = measurement.host.facts, measurement.runtime
    threads = f"{runtime.threads} thread{'' if runtime.threads == 1 else 's'}"
    return (
        f"Measured on {measurement.host.name} ({facts.board or facts.cpu or facts.arch}) with "
        f"{runtime.name} {runtime.version}, {threads}, {scenario_words(measurement.scenario)}, "
        f"{measurement.latency_ms.n:,} queries; most operators ran in "
        f"{ran_in(runtime.executed_precision).split(' (')[0]}."
    )


def _pairs(content: ReportContent, details: ReportDetails) -> list[tuple[str, str]]:
    """What ships, behind what it stands in for, and behind its own FP32: where both answered."""
    shipped = content.shipped
    if shipped is None or shipped not in details.answers:
        return []
    befores = []
    if content.headline is not None and content.headline.baseline is not None:
        befores.append(content.headline.baseline.bundle.name)
    manifest = content.exported[shipped].manifest if shipped in content.exported else None
    for name, bundle in content.exported.items():
        of_one_kind = manifest is not None and (
            (bundle.manifest.format, bundle.manifest.target, bundle.manifest.role)
            == (manifest.format, manifest.target, manifest.role)
        )
        if of_one_kind and bundle.manifest.precision == "fp32":
            befores.append(name)
    usable = [
        name for name in dict.fromkeys(befores) if name != shipped and name in details.answers
    ]
    return [(name, shipped) for name in usable if _same_images(details, name, shipped)]


def _same_images(details: ReportDetails, one: str, other: str) -> bool:
    return np.array_equal(details.answers[one].labels, details.answers[other].labels)


def _of_interest(content: ReportContent, details: ReportDetails) -> dict[str, Answers]:
    """Answers of the teacher's first bundle, and of those that are of the shipped one's format."""
    shipped = content.exported.get(content.shipped or "")
    chosen = {}
    for name, answers in details.answers.items():
        manifest = content.exported[name].manifest if name in content.exported else None
        if manifest is None:
            continue
        if shipped is None or manifest.format == shipped.manifest.format:
            chosen[name] = answers
    return chosen or details.answers


def _class_plot(pair: tuple[str, str], details: ReportDetails, names: Sequence[str]) -> Plot:
    before, after = (details.answers[name] for name in pair)
    return class_plot(classes_worth(before, after, names), *pair)


def _lacking(
    content: ReportContent, details: ReportDetails, main: tuple[str, str] | None
) -> dict[str, str]:
    """One line for each section that cannot be shown, with what would bring it."""
    lacking = {}
    if content.plain and (bare := without_samples(content.plain)):
        lacking["latency"] = (
            f"No single latencies were kept of {', '.join(bare)}; delete its file in bench/ and "
            "measure again with `compress bench`."
        )
    if content.exported and main is None:
        lacking["answers"] = (
            "What each bundle answers to each image is not known here for two bundles to compare: "
            "the images have no labels, nothing was chosen to ship, or the bundles were exported "
            "by an earlier version (export them again)."
        )
    quantised = [n for n, b in content.exported.items() if b.manifest.precision == "int8"]
    known = {name for name, report in details.layers.items() if report["layers"]}
    if missing := [name for name in quantised if name not in known]:
        lacking["layers"] = (
            f"Layer by layer, nothing is known of {', '.join(missing)}: an earlier version "
            "exported it, or no tensor of the FP32 graph is left in it to compare."
        )
    if len(content.stages) > 1 and details.retention is None:
        lacking["retention"] = (
            "What is left of each stage after later ones was not measured here: the student "
            "changed its form on the way, there were no validation images, several processes "
            "trained it, or an earlier version did."
        )
    return lacking
