"""What a measurement says class by class: recall, precision, F1, their means, the worst class.

A measurement has what the device called each test image; what they show is in the run folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy_targets.measurement import Measurement
from foundation.errors import CorruptFileError
from foundation.statistics import paired_difference, wilson_interval
from pipeline.gating.answering import MetricReading
from pipeline.gating.labels import LabelledClasses, LabelsKnown, check_classes
from pipeline.gating.metrics import OF_ONE_CLASS, Figure, Missing, Read, drop, metric_named
from pipeline.gating.references import Reference
from pipeline.gating.verdict import Basis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foundation.scores import Score

_NO_LABELS = Missing(
    "not measured: what the test images show is in the run folder; judge that, or its files where "
    "they lie"
)
_NOT_KEPT = Missing(
    "not measured: which class each image was given was not kept then; measure it again with "
    "`compress bench`"
)


@dataclass(frozen=True, eq=False)
class _Said:
    """What a measurement's model said of labelled images."""

    truth: LabelledClasses
    right: NDArray[np.bool_]
    answers: NDArray[np.int64] | None

    @property
    def classes(self) -> int:
        return len(self.truth.names)

    def number_of(self, name: str) -> int:
        """Of the class in "recall.NAME".

        Raises:
            UnknownNameError: when there is none of that name.
        """
        check_classes([name], self.truth.names)
        return list(self.truth.names).index(name.partition(".")[2])


def class_reading(name: str, measurement: Measurement, labels: LabelsKnown) -> MetricReading:
    """A figure by classes, in percent, with its interval, and of how many images it is."""
    said = _said(measurement, labels)
    if isinstance(said, Missing):
        return MetricReading(said, "none")
    figure, unit = _figure(name, said)
    return MetricReading(figure, "none" if isinstance(figure, Missing) else "measured", unit=unit)


def class_drop_reading(
    name: str, measurement: Measurement, reference: Reference, labels: LabelsKnown
) -> MetricReading:
    """Points by which such a figure lies below a reference's, image by image where both answered
    the same images."""
    figure, unit, basis = _drop(name, measurement, reference, labels)
    basis = "none" if isinstance(figure, Missing) else basis
    return MetricReading(figure, basis, None, reference.bundle.name, unit)


def _drop(
    name: str, measurement: Measurement, reference: Reference, labels: LabelsKnown
) -> tuple[Read, str, Basis]:
    if reference.measurement is None:
        missing = Missing("not measured: the baseline is a bundle alone; give its measurement")
        return missing, "", "none"
    now, then = (_said(one, labels) for one in (measurement, reference.measurement))
    if isinstance(now, Missing):
        return now, "", "none"
    if isinstance(then, Missing):
        return Missing(f"{reference.bundle.name}: {then.reason}"), "", "none"
    if _labels_digest(measurement) == _labels_digest(reference.measurement):
        paired = _paired(name, now, then)
        if paired is not None:
            return *paired, "same images"
    return _unpaired(name, now, then, reference.bundle.name), " points", "measured"


def _unpaired(name: str, now: _Said, then: _Said, reference: str) -> Read:
    if metric_named(name).by_class == "worst drop":
        return Missing(
            f"not measured: {reference} did not answer the same test images; measure both on the "
            "same"
        )
    kind, _, of = name.partition(".")
    if kind in OF_ONE_CLASS and of not in then.truth.names:
        return Missing(f"not measured: {reference} has no class {of}")
    below, above = (_figure(name, said)[0] for said in (now, then))
    if isinstance(below, Missing):
        return below
    return above if isinstance(above, Missing) else drop(below, above)


def _labels_digest(measurement: Measurement) -> str | None:
    return measurement.accuracy.labels_sha256 if measurement.accuracy else None


def _said(measurement: Measurement, labels: LabelsKnown) -> _Said | Missing:
    import numpy as np  # noqa: PLC0415 - a gate without such limits needs none

    accuracy = measurement.accuracy
    if accuracy is None:
        return Missing("not measured: no images with labels were there; bench with --accuracy")
    truth = labels.of(accuracy.labels_sha256)
    if accuracy.right is None:
        return _NOT_KEPT
    if truth is None:
        return _NO_LABELS
    digits = np.frombuffer(bytes.fromhex(accuracy.right), np.uint8)
    right = np.unpackbits(digits, count=accuracy.n).astype(bool)
    answers = None
    if accuracy.answers is not None:
        answers = np.array(accuracy.answers.split(" "), np.int64)
        if answers.max() >= len(truth.names) or not np.array_equal(answers == truth.labels, right):
            raise CorruptFileError(
                f"{measurement.bundle.name}: its measurement says of other images that they were "
                "named rightly than the classes that they were given; measure again with "
                "`compress bench`"
            )
    return _Said(truth, right, answers)


def _figure(name: str, said: _Said) -> tuple[Read, str]:
    """A figure in percent, and what it is of."""
    kind = metric_named(name).by_class or ""
    if kind in OF_ONE_CLASS:
        return _of_one_class(name, kind, said)
    from foundation.classification import mean_score, worst_recall  # noqa: PLC0415 - numpy

    labels = said.truth.labels
    if kind == "worst":
        worst = worst_recall(labels, said.right, said.classes)
        return _in_percent(
            worst.score
        ), f" % (class {said.truth.names[worst.number]}, {worst.n} images)"
    if said.answers is None:
        return _NOT_KEPT, ""
    return _in_percent(mean_score(labels, said.answers, said.classes, kind)), ""


def _of_one_class(name: str, kind: str, said: _Said) -> tuple[Read, str]:
    from foundation.classification import class_scores  # noqa: PLC0415 - numpy

    labels, number = said.truth.labels, said.number_of(name)
    class_name, shown = said.truth.names[number], labels == number
    if kind == "recall":
        n, right = int(shown.sum()), int(said.right[shown].sum())
        if not n:
            return Missing(f"not measured: no test image shows {class_name}"), ""
        shares = (right / n, *wilson_interval(right, n))
        return Figure(*(100 * share for share in shares)), f" % of {n} images"
    if said.answers is None:
        return _NOT_KEPT, ""
    scores = class_scores(labels, said.answers, said.classes)[number]
    score = scores.precision if kind == "precision" else scores.f1
    missing = Missing(f"not measured: no test image was called {class_name}")
    return missing if score is None else _in_percent(score), ""


def _paired(name: str, now: _Said, then: _Said) -> tuple[Read, str] | None:
    """How far a figure fell, image by image, in points, and what it is of; None where it was not
    kept what images were called."""
    from foundation.classification import mean_drop, worst_drop  # noqa: PLC0415 - numpy

    labels, kind = now.truth.labels, metric_named(name).by_class or ""
    if kind == "worst drop":
        worst = worst_drop(labels, then.right, now.right, now.classes)
        words = f" points (class {now.truth.names[worst.number]}, {worst.n} images)"
        return _in_percent(worst.score), words
    if kind == "recall":
        return _paired_recall(name, now, then)
    if now.answers is None or then.answers is None:
        return None
    answers = then.answers, now.answers
    if kind not in OF_ONE_CLASS:
        return _in_percent(mean_drop(labels, *answers, now.classes, kind)), " points"
    return _paired_of_class(name, kind, now, then)


def _paired_recall(name: str, now: _Said, then: _Said) -> tuple[Read, str]:
    shown = now.truth.labels == now.number_of(name)
    n = int(shown.sum())
    if not n:
        return _figure(name, now)
    lost, won = (
        int((one.right & ~other.right & shown).sum()) for one, other in ((then, now), (now, then))
    )
    shares = paired_difference(lost, won, n)
    return Figure(*(100 * share for share in shares)), f" points of {n} images"


def _paired_of_class(name: str, kind: str, now: _Said, then: _Said) -> tuple[Read, str]:
    from foundation.classification import class_drop  # noqa: PLC0415 - numpy

    assert now.answers is not None
    assert then.answers is not None
    score = class_drop(
        now.truth.labels,
        then.answers,
        now.answers,
        now.classes,
        name=kind,
        number=now.number_of(name),
    )
    return _figure(name, now) if score is None else (_in_percent(score), " points")


def _in_percent(score: Score) -> Figure:
    return Figure(100 * score.value, 100 * score.low, 100 * score.high)
