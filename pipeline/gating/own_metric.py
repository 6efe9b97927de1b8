"""The run's own metric, as the export left it: what it says of each bundle on the test images.

No code of the user's runs here: the export kept the values, and those of each set of images that
was drawn for their intervals.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.errors import unknown_name
from foundation.records import read_record
from pipeline.gating.answering import MetricReading
from pipeline.gating.metrics import OWN, Figure, Missing, Read
from pipeline.gating.vouching import Vouching
from pipeline.run_folder.folder import METRIC_VALUES, RunFolder

if TYPE_CHECKING:
    from foundation.metric_values import MetricValues
    from foundation.scores import Score


class OwnValues:
    """What runs' own metrics say of their bundles, read when it is asked for."""

    def __init__(self, runs: Iterable[RunFolder]) -> None:
        self._runs = list(runs)

    def of(self, bundle: str) -> MetricValues | Missing:
        """Of a bundle by its name.

        Raises:
            CorruptFileError: when it is not as the export left it.
        """
        if not self._runs:
            return Missing("not measured: what a metric of one's own says is in the run folder")
        for run in self._runs:
            path = run.findings / bundle / METRIC_VALUES
            if path.is_file():
                Vouching(run).check_file(path, "compress export")
                return read_values(path)
        return Missing(
            f"not measured: {bundle} was exported without a metric; export it again with --metric"
        )


def read_values(path: Path) -> MetricValues:
    """What the export kept of a bundle.

    Raises:
        CorruptFileError: when the file is anything else.
    """
    from foundation.metric_values import MetricValues  # noqa: PLC0415 - numpy

    return read_record(path, MetricValues, "what a metric says", "run `compress export` again")


def own_reading(name: str, bundle: str, values: OwnValues) -> MetricReading:
    """A value ("metric.NAME") of a bundle, in its own unit, with its interval.

    Raises:
        UnknownNameError: when the metric has no value of that name.
    """
    found = values.of(bundle)
    if isinstance(found, Missing):
        return MetricReading(found, "none")
    return MetricReading(_figure(found.score(_key(name, found))), "measured")


def own_drop_reading(
    name: str, bundle: str, reference: str, values: OwnValues, reference_values: OwnValues
) -> MetricReading:
    """How far a value lies below the reference's, image by image; errors as `own_reading`."""
    now, then = values.of(bundle), reference_values.of(reference)
    missing = next((one for one in (now, then) if isinstance(one, Missing)), None)
    figure: Read
    if isinstance(now, Missing) or isinstance(then, Missing):
        assert missing is not None
        return MetricReading(missing, "none", None, reference)
    if not now.is_like(then):
        figure = Missing(
            f"not measured: {reference} was judged on other images, or by other code of the "
            "metric; export both again with the same"
        )
        return MetricReading(figure, "none", None, reference)
    key = _key(name, now)
    if key not in then.values:
        figure = Missing(f"not measured: the metric gave no {key} of {reference}")
        return MetricReading(figure, "none", None, reference)
    return MetricReading(_figure(now.drop_from(then, key)), "same images", None, reference)


def _key(name: str, values: MetricValues) -> str:
    key = name.removeprefix(f"{OWN}.")
    if key not in values.values:
        kind = f"value of metric {values.metric!r}"
        raise unknown_name(kind, key, values.values, f"limits.{name}")
    return key


def _figure(score: Score) -> Figure:
    return Figure(score.value, score.low, score.high)
