"""Which points are on the front, which off it, and which cannot be told from it.

A point **beats** another when it is no worse in any objective and surely better in one; "surely"
means that the whole interval of the difference says so. What is beaten is off the front. A point is
on it when it is surely better than each other point in some objective. Whatever lies between is
tied: with those than which it is surely better in nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.gating.metrics import Figure, drop
from pipeline.search.limits import HIGHER_IS_BETTER, UNITS
from pipeline.search.points import TrialPoint, points_below

ON: Literal["on the front"] = "on the front"
OFF: Literal["off it"] = "off it"
TIED: Literal["tied"] = "tied"


@dataclass(frozen=True)
class Lead:
    """How far a point leads another in one objective, in its unit; below zero where it trails.

    Attributes:
        interval: the 95 % interval of it.
    """

    interval: Figure

    @property
    def is_sure(self) -> bool:
        """Whether it is surely the better one."""
        return self.interval.low > 0

    @property
    def trails(self) -> bool:
        """Whether it is, as far as was measured, the worse one."""
        return self.interval.value < 0


@dataclass(frozen=True, kw_only=True)
class PlacedPoint:
    """A point, and where it stands.

    Attributes:
        trial: its number.
        folder: its run folder, within the search's.
        bundle: the name of its bundle there.
        manifest_sha256: stands for all files of the bundle.
        params: what was drawn for it, by the recipe's key.
        figures: by name, with their 95 % intervals; accuracy in percent of the validation images,
            accuracy_drop in points below the teacher on the same images.
        status: "on the front", "off it" or "tied".
        beaten_by: trials that are no worse in any objective and surely better in one.
        tied_with: trials than which it is surely better in nothing.
        host: where it was measured.
        doubts: why its measurement is suspect.
    """

    trial: int
    folder: str
    bundle: str
    manifest_sha256: str
    params: dict[str, Any]
    figures: dict[str, Figure]
    status: Literal["on the front", "off it", "tied"]
    beaten_by: list[int] = field(default_factory=list)
    tied_with: list[int] = field(default_factory=list)
    host: str
    doubts: list[str] = field(default_factory=list)


def front_of(points: Sequence[TrialPoint], objectives: Sequence[str]) -> list[PlacedPoint]:
    """Where each point stands, the cheapest first: by the first objective that is a cost."""
    by = next((name for name in objectives if name not in HIGHER_IS_BETTER), objectives[0])
    placed = [_placed(point, points, objectives) for point in points]
    return sorted(placed, key=lambda point: (point.figures[by].value, point.trial))


def lead(point: TrialPoint, other: TrialPoint, objective: str) -> Lead:
    """How far a point leads another in an objective that both have a figure of."""
    if objective == "accuracy":
        return Lead(points_below(other.validation, point.validation))
    own, others = point.figure(objective), other.figure(objective)
    assert own is not None and others is not None, f"a trial has no {objective}"
    higher = objective in HIGHER_IS_BETTER
    return Lead(drop(others, own) if higher else drop(own, others))


def _placed(
    point: TrialPoint, points: Sequence[TrialPoint], objectives: Sequence[str]
) -> PlacedPoint:
    others = [other for other in points if other is not point]
    beaten_by = [other.trial for other in others if _beats(other, point, objectives)]
    not_led = [other.trial for other in others if not _is_led(other, point, objectives)]
    status: Literal["on the front", "off it", "tied"] = (
        OFF if beaten_by else TIED if not_led else ON
    )
    figures = {"accuracy": point.accuracy, "accuracy_drop": point.accuracy_drop, **point.figures}
    return PlacedPoint(
        trial=point.trial,
        folder=point.folder,
        bundle=point.bundle,
        manifest_sha256=point.manifest_sha256,
        params=point.params,
        figures=figures,
        status=status,
        beaten_by=beaten_by,
        tied_with=not_led if status == TIED else [],
        host=point.host,
        doubts=point.doubts,
    )


def _beats(point: TrialPoint, other: TrialPoint, objectives: Sequence[str]) -> bool:
    leads = [lead(point, other, objective) for objective in objectives]
    return not any(one.trails for one in leads) and any(one.is_sure for one in leads)


def _is_led(point: TrialPoint, by: TrialPoint, objectives: Sequence[str]) -> bool:
    return any(lead(by, point, objective).is_sure for objective in objectives)


def front_csv(points: Sequence[PlacedPoint]) -> str:
    """The points as a table for a spreadsheet, a row each."""
    names = [name for name in UNITS if any(name in point.figures for point in points)]
    keys = list(dict.fromkeys(key for point in points for key in point.params))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    bounds = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    writer.writerow(["trial", "status", *bounds, *keys, "host", "folder", "bundle"])
    for point in points:
        figures = [value for name in names for value in _ends(point.figures, name)]
        params = [point.params.get(key, "") for key in keys]
        where = [point.host, point.folder, point.bundle]
        writer.writerow([point.trial, point.status, *figures, *params, *where])
    return text.getvalue()


def _ends(figures: Mapping[str, Figure], name: str) -> list[str]:
    figure = figures.get(name)
    if figure is None:
        return ["", "", ""]
    return [f"{value:.6g}" for value in (figure.value, figure.low, figure.high)]
