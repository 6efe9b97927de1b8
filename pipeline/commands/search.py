"""`compress search`: the front over what a recipe lets vary, and the one of it to ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from foundation.errors import MissingFileError, NothingQualifiesError
from foundation.records import as_dict
from pipeline.recipe.file import RecipeFile
from pipeline.run_folder.folder import DEFAULT_ROOT, SEARCH
from pipeline.search.folder import SearchFolder, open_search
from pipeline.search.front import PlacedPoint
from pipeline.search.limits import UNITS, parse_limits
from pipeline.search.pick import pick, shown
from pipeline.search.record import Picked, SearchRecord, read_search_record
from pipeline.shown.terminal import Outcome, safe, table_of

_SHOWN_ALWAYS = ("accuracy", "accuracy_drop", "latency_p50")


def search_only(
    file: RecipeFile, source: Path, overrides: Mapping[str, Any], path: Path | None
) -> Outcome:
    """Search, or go on with it, and show the front.

    Args:
        file: the recipe.
        source: the file that it was read from.
        overrides: what the command line laid over it, by place.
        path: the search's folder; None takes runs/NAME.
    """
    from pipeline.search.search import search  # noqa: PLC0415 - torch, which a front needs not

    folder, record = search(file, source, overrides, path)
    return _outcome(folder, record)


def front_only(word: Path | None) -> Outcome:
    """Show what a search has found so far.

    Args:
        word: its folder or its name; None takes the one used last.
    """
    folder = _folder_of(word)
    return _outcome(folder, read_search_record(folder))


def pick_only(word: Path | None, asked: str) -> tuple[Outcome, NothingQualifiesError | None]:
    """Choose the one to ship.

    Args:
        word: the search's folder or its name; None takes the one used last.
        asked: what it must keep: "latency_p95<=20ms and size<=2MB".

    Returns:
        What was found, and what to tell at the end where nothing qualifies.
    """
    limits = parse_limits(asked)
    folder = _folder_of(word)
    record = read_search_record(folder)
    try:
        picked = pick(folder, record, limits, asked)
    except NothingQualifiesError as error:
        return _outcome(folder, record), error
    record = replace(record, picked=picked)
    return Outcome(_content(folder, record), _picked_lines(picked)), None


def is_search(path: Path | None) -> bool:
    """Whether a path is a search's folder."""
    return path is not None and (path / SEARCH).is_file()


def _folder_of(word: Path | None) -> SearchFolder:
    if word is None or is_search(word):
        return open_search(word)
    named = DEFAULT_ROOT / word.name
    if len(word.parts) == 1 and is_search(named):
        return open_search(named)
    raise MissingFileError(
        f"{word}: neither the folder of a search (no {SEARCH}) nor the name of one under "
        f"{DEFAULT_ROOT}/; make one with `compress search RECIPE`"
    )


def _content(folder: SearchFolder, record: SearchRecord) -> Any:
    return as_dict(replace(record, search=str(folder.path)))


def _outcome(folder: SearchFolder, record: SearchRecord) -> Outcome:
    lines: list[RenderableType] = [_front_table(record)]
    lines += [safe(line) for line in _notes(folder, record)]
    return Outcome(_content(folder, record), lines)


def _front_table(record: SearchRecord) -> Table:
    names = [name for name in UNITS if name in {*_SHOWN_ALWAYS, *record.objectives}]
    keys = list(dict.fromkeys(key for point in record.points for key in point.params))
    rows = [_row(point, names, keys) for point in record.points]
    heads = ["trial", *names, *keys, "status"]
    return table_of("Front: accuracy of the validation images, 95 % intervals", heads, rows)


def _row(point: PlacedPoint, names: Sequence[str], keys: Sequence[str]) -> list[str]:
    figures = [shown(point.figures[n], n) if n in point.figures else "–" for n in names]
    params = [f"{point.params.get(key, '–')}" for key in keys]
    status: str = point.status
    if point.beaten_by:
        status += f": beaten by {_listed(point.beaten_by)}"
    if point.tied_with:
        status += f" with {_listed(point.tied_with)}"
    if point.doubts:
        status += " (suspect)"
    return [str(point.trial), *figures, *params, status]


def _notes(folder: SearchFolder, record: SearchRecord) -> list[str]:
    lines = []
    if record.reference is not None:
        reference = record.reference
        lines.append(
            f"latencies: measured in turns with the bundle of trial {reference.trial}, as they "
            f"were on {reference.host} ({reference.cpu or 'its CPU is not known'}) when that was "
            "first timed"
        )
    doubtful = [point for point in record.points if point.doubts]
    lines += [f"trial {one.trial} is suspect: {'; '.join(one.doubts)}" for one in doubtful]
    for one in record.left_out:
        state = "stopped early" if one.state == "hopeless" else one.state
        lines.append(f"trial {one.trial}: {state}{f': {one.reason}' if one.reason else ''}")
    lines.append(f"table: {folder.table_path}")
    return lines


def _picked_lines(picked: Picked) -> list[RenderableType]:
    judged = picked.pick
    lines = [
        f"ship: {judged.bundle}",
        f"why: {picked.reason}",
        f"on the test images, judged once: {shown(judged.top1_percent, 'accuracy')}, "
        f"{shown(judged.drop_points, 'accuracy_drop')} below its teacher's "
        f"{shown(judged.teacher_top1_percent, 'accuracy')}",
    ]
    if picked.qualified:
        lines.append(f"qualified too: trials {_listed(picked.qualified)}")
    if picked.tied:
        lines.append(f"as accurate as far as can be told: trials {_listed(picked.tied)}")
    if picked.undecided:
        lines.append(f"cannot be told: trials {_listed(picked.undecided)}")
    if picked.judged_before:
        lines.append(
            f"note: the test images were asked about trials {_listed(picked.judged_before)} "
            "before; whoever chooses among several by these figures has one that is too good"
        )
    lines.append(f"all of it: compress report {judged.folder}")
    return [safe(line) for line in lines]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
