"""What is said of a search in words: on the terminal and on its page."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.gating.metrics import Figure
from pipeline.search.front import PlacedPoint
from pipeline.search.limits import UNITS
from pipeline.search.record import Picked, SearchRecord


def words_of(point: PlacedPoint, names: Sequence[str]) -> str:
    """Some figures of a point with their intervals."""
    return ", ".join(
        f"{name} {shown(point.figures[name], name)}" for name in names if name in point.figures
    )


def shown(figure: Figure, name: str) -> str:
    """A figure with its unit and its interval, where it has one."""
    unit, digits = next(iter(UNITS[name])), ".2f" if name.startswith("accuracy") else ".3g"
    value = f"{figure.value:{digits}} {unit}"
    if figure.low == figure.high:
        return value
    return f"{value} ({figure.low:{digits}} to {figure.high:{digits}})"


def measured_lines(record: SearchRecord) -> list[str]:
    """How the latencies were measured."""
    reference = record.reference
    if reference is None:
        return []
    return [
        f"latencies: measured in turns with the bundle of trial {reference.trial}, as they "
        f"were on {reference.host} ({reference.cpu or 'its CPU is not known'}) when that was "
        "first timed"
    ]


def doubt_lines(record: SearchRecord) -> list[str]:
    """Which measurements are suspect, and why."""
    doubtful = [point for point in record.points if point.doubts]
    return [f"trial {one.trial} is suspect: {'; '.join(one.doubts)}" for one in doubtful]


def left_out_lines(record: SearchRecord) -> list[str]:
    """Which trials came to nothing, or have not yet, and why."""
    lines = []
    for one in record.left_out:
        state = "stopped early" if one.state == "hopeless" else one.state
        lines.append(f"trial {one.trial}: {state}{f': {one.reason}' if one.reason else ''}")
    return lines


def picked_lines(picked: Picked) -> list[str]:
    """Which one to ship and why, what the test images say of it, and which others there are."""
    judged = picked.pick
    lines = [
        f"ship: {judged.bundle}",
        f"why: {picked.reason}",
        f"on the test images, judged once: {shown(judged.top1_percent, 'accuracy')}, "
        f"{shown(judged.drop_points, 'accuracy_drop')} below its teacher's "
        f"{shown(judged.teacher_top1_percent, 'accuracy')}",
    ]
    if picked.qualified:
        lines.append(f"qualified too: trials {listed(picked.qualified)}")
    if picked.tied:
        lines.append(f"as accurate as far as can be told: trials {listed(picked.tied)}")
    if picked.undecided:
        lines.append(f"cannot be told: trials {listed(picked.undecided)}")
    if picked.judged_before:
        lines.append(
            f"note: the test images were asked about trials {listed(picked.judged_before)} "
            "before; whoever chooses among several by these figures has one that is too good"
        )
    return lines


def listed(numbers: Sequence[int]) -> str:
    """Numbers of trials, as they are read."""
    return ", ".join(map(str, numbers))
