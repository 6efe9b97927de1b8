"""The page of a whole search: its front to look at, and the one to ship where one was picked."""

from __future__ import annotations

from pathlib import Path

from pipeline.gating.metrics import Figure
from pipeline.report.front import FrontPoint, Place
from pipeline.report.write import PAGE, write_points
from pipeline.search.folder import SearchFolder
from pipeline.search.front import OFF, ON, TIED, PlacedPoint
from pipeline.search.points import read_note
from pipeline.search.record import SearchRecord
from pipeline.search.words import left_out_lines, measured_lines, picked_lines

_PLACES: dict[str, Place] = {ON: "on", OFF: "off", TIED: "tied"}
_JUDGED_BY = "Accuracies of the points are those of the validation images."


def write_page(search: SearchFolder, record: SearchRecord, folder: Path | None = None) -> Path:
    """Write report.html of what a search has found so far.

    Args:
        search: its folder.
        record: what it found, with what was picked.
        folder: where to write it; None takes the search's own.

    Raises:
        CompressError: when it cannot be written there.
        CorruptFileError: when the note of a trial is none of ours.
    """
    chosen = record.picked.pick.trial if record.picked else None
    points = [_point(search, point, chosen) for point in record.points]
    picked = picked_lines(record.picked) if record.picked else []
    lines = [*picked, _JUDGED_BY, *measured_lines(record)]
    path = (folder or search.path) / PAGE
    return write_points(path, search.path.name, points, lines, left_out_lines(record))


def _point(search: SearchFolder, point: PlacedPoint, chosen: int | None) -> FrontPoint:
    note, figures = read_note(search.path / point.folder), point.figures
    made = note.point
    size, energy = figures.get("size"), figures.get("energy")
    drawn = "drawn: " + ", ".join(f"{key} = {value}" for key, value in point.params.items())
    return FrontPoint(
        name=f"trial {point.trial}",
        accuracy=figures["accuracy"],
        latency=figures.get("latency_p50"),
        p95=figures.get("latency_p95"),
        size=None if size is None else 1e3 * size.value,
        memory=figures.get("memory"),
        energy=energy and Figure(1e3 * energy.value, 1e3 * energy.low, 1e3 * energy.high),
        group=f"{made.format} {made.precision}" if made else point.bundle,
        precision=made.precision if made else "",
        place=_PLACES[point.status],
        suspect=bool(point.doubts),
        ships=point.trial == chosen,
        note="; ".join([*point.doubts, drawn]),
    )
