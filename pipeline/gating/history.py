"""The gate's history: every verdict, a line of JSON each, and what only many of them show.

A limit is kept or broken by one release; a metric that gets a little worse with each keeps every
limit for long. Such a drift is looked for by Mann and Kendall's test for a trend, which asks only
in which order figures lie, and its size is Theil and Sen's: the median of the slopes between all
pairs.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from foundation.documents import LARGEST_JSON
from foundation.errors import CorruptFileError, MissingFileError
from foundation.files import no_space_named, read_bounded
from foundation.records import as_dict, record_on_line
from foundation.sense import known, named
from pipeline.gating.metrics import metric_named
from pipeline.gating.verdict import Answer, Check, Verdict

HISTORY = "history.jsonl"
KIND = "gate-history-line"
SCHEMA_VERSION = 1
_BEGINNING = f'{{"kind": "{KIND}"'.encode()
_ADVICE = "take the line out, or put the file back as it was"

FEWEST_FOR_DRIFT = 6
"""Releases: of five, even a perfect order is there by chance once in 60 times."""
SIGNIFICANT = 0.01
# A drift of less is no matter: percent of the first figure, and points of an accuracy.
_LEAST_PERCENT, _LEAST_POINTS = 2.0, 0.2
_POINTS = ("%", "points")


@dataclass(frozen=True, kw_only=True)
class HistoryLine:
    """One verdict.

    Attributes:
        at: when it was given, ISO 8601, UTC.
        release: what was judged, in the words of whoever asked; None where nobody said.
        commit: of the code that the run was made with.
        verdict: the gate's answer.
        checks: of it.
    """

    kind: str = KIND
    schema_version: int = SCHEMA_VERSION
    at: str
    release: str | None = None
    commit: str | None = None
    verdict: Answer
    checks: list[Check]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from known([KIND], kind=self.kind)
        yield from named(at=self.at)
        if self.schema_version != SCHEMA_VERSION:
            yield f"schema_version must be {SCHEMA_VERSION}, but got {self.schema_version}"


@dataclass(frozen=True)
class ReleaseFigure:
    """A metric of one release.

    Attributes:
        at, release, commit: see `HistoryLine`.
        value, low, high: the figure and its interval.
        verdict: whether its limit was kept.
    """

    at: str
    release: str | None
    commit: str | None
    value: float
    low: float
    high: float
    verdict: Answer


@dataclass(frozen=True)
class Drift:
    """A metric that gets worse from release to release.

    Attributes:
        change: by how much over all releases, in percent of the first figure; of a figure that is
            in percent or points itself, in points. Above zero is worse.
        low, high: its 95 % interval, by the slopes between all pairs.
        tau: Kendall's: 1 where every release is worse than all before it.
        p: of the two-sided test that there is no trend.
        releases: how many.
    """

    change: float
    low: float
    high: float
    tau: float
    p: float
    releases: int


@dataclass(frozen=True)
class MetricHistory:
    """One metric of one bundle on one host, over the releases.

    Attributes:
        bundle, host, scenario, runtime, metric: what it is of.
        unit: of its figures.
        points: in the order in which they were judged.
        drift: None where none was found.
    """

    bundle: str
    host: str
    scenario: str
    runtime: str
    metric: str
    unit: str
    points: list[ReleaseFigure]
    drift: Drift | None = None


@dataclass(frozen=True, kw_only=True)
class HistoryShown:
    """What `compress gate --history --json` prints."""

    schema_version: int = 1
    kind: str = "gate-history"
    file: str
    series: list[MetricHistory] = field(default_factory=list)


def add_to_history(
    path: Path, verdict: Verdict, *, release: str | None, commit: str | None
) -> None:
    """Add a verdict at the end, whoever else adds at the same time.

    A line that a process was killed in the middle of has no end, and goes.

    Raises:
        OSError: when it cannot be written, or is a link.
        NoSpaceError: when the disk is full.
        CorruptFileError: when the file is something else; it is left as it is.
    """
    line = HistoryLine(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        release=release,
        commit=commit,
        verdict=verdict.verdict,
        checks=verdict.checks,
    )
    text = (json.dumps(as_dict(line), allow_nan=False) + "\n").encode()
    with no_space_named(path), open(path, "a+b", buffering=0, opener=_not_by_a_link) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = file.read()
        end = before.rfind(b"\n") + 1
        if not (_begins_as_ours(before) and _begins_as_ours(before[end:])):
            raise CorruptFileError(f"{path}: not a history of the gate; name another file")
        file.truncate(end)
        if file.write(text) != len(text):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _not_by_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _begins_as_ours(text: bytes) -> bool:
    """Whether text begins as a line does, as far as it goes."""
    return _BEGINNING.startswith(text[: len(_BEGINNING)])


def read_history(path: Path) -> list[HistoryLine]:
    """All verdicts, in the order in which they were given.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when a line is none of ours.
    """
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no history yet; each `compress gate` adds its verdict there"
        )
    *texts, _unfinished = read_bounded(path, LARGEST_JSON).split(b"\n")
    return [
        record_on_line(
            path, number, text, HistoryLine, description="a verdict of the gate", advice=_ADVICE
        )
        for number, text in enumerate(texts, start=1)
    ]


def series_of(lines: Sequence[HistoryLine]) -> list[MetricHistory]:
    """Every metric that was limited by itself, over the releases, with its drift.

    Regressions are left out: each is counted from another reference. So is a verdict whose figures
    are all those of the one before it: nothing was measured in between.
    """
    found: dict[tuple[str, str, str, str, str], list[ReleaseFigure]] = {}
    before: Sequence[tuple[object, ...]] = []
    for line in lines:
        checks = [check for check in line.checks if check.kind != "max_regression"]
        figures = [(*check.subject, check.metric, *_figures(check)) for check in checks]
        if figures != before:
            for check in checks:
                value, low, high = _figures(check)
                if value is not None and low is not None and high is not None:
                    point = ReleaseFigure(
                        line.at, line.release, line.commit, value, low, high, check.verdict
                    )
                    found.setdefault((*check.subject, check.metric), []).append(point)
        before = figures
    return [
        MetricHistory(*key, metric_named(key[-1]).unit, points, drift_of(key[-1], points))
        for key, points in found.items()
    ]


def drift_of(metric: str, points: Sequence[ReleaseFigure]) -> Drift | None:
    """By how much a metric got worse over the releases; None where that may be chance, is next to
    nothing, or there are too few."""
    if len(points) < FEWEST_FOR_DRIFT:
        return None
    from scipy.stats import kendalltau, theilslopes  # noqa: PLC0415 - a second, for few

    facts, order = metric_named(metric), range(len(points))
    worse = 1 if facts.better == "lower" else -1
    values = [worse * point.value for point in points]
    trend = kendalltau(order, values)
    if not (trend.pvalue < SIGNIFICANT and trend.statistic > 0):
        return None
    slope, _, low, high = theilslopes(values, order, 0.95)
    first = abs(points[0].value)
    absolute = facts.unit in _POINTS
    scale = 1.0 if absolute else 100 / first if first else 0.0
    change, low, high = (float(s) * scale * (len(points) - 1) for s in (slope, low, high))
    if change < (_LEAST_POINTS if absolute else _LEAST_PERCENT):
        return None
    tau, p = float(trend.statistic), float(trend.pvalue)
    return Drift(change, low, high, tau, p, len(points))


def _figures(check: Check) -> tuple[float | None, float | None, float | None]:
    return check.value, check.low, check.high
