"""`compress search`: the front over what a recipe lets vary, and the one of it to ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from foundation.errors import CompressError, MissingFileError, NothingQualifiesError
from foundation.records import as_dict
from pipeline.recipe.file import RecipeFile
from pipeline.run_folder.folder import DEFAULT_ROOT, SEARCH
from pipeline.search.folder import SearchFolder, open_search
from pipeline.search.front import PlacedPoint
from pipeline.search.limits import UNITS, parse_limits
from pipeline.search.page import write_page
from pipeline.search.pick import pick
from pipeline.search.record import SearchRecord, read_search_record
from pipeline.search.words import (
    doubt_lines,
    left_out_lines,
    listed,
    measured_lines,
    picked_lines,
    shown,
)
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.words import safe

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
    lines = [*picked_lines(picked), f"all of it: compress report {picked.pick.folder}"]
    return Outcome(_content(folder, record), _safe([*lines, _page_line(folder, record)])), None


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
    lines = [*measured_lines(record), *doubt_lines(record), *left_out_lines(record)]
    lines += [f"table: {folder.table_path}", _page_line(folder, record)]
    return Outcome(_content(folder, record), [_front_table(record), *_safe(lines)])


def _page_line(folder: SearchFolder, record: SearchRecord) -> str:
    """Where its page lies; one who may only read the folder has the figures all the same."""
    try:
        return f"page: {write_page(folder, record)}"
    except CompressError as error:
        return f"no page: {error}"


def _safe(lines: Sequence[str]) -> list[RenderableType]:
    return [safe(line) for line in lines]


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
        status += f": beaten by {listed(point.beaten_by)}"
    if point.tied_with:
        status += f" with {listed(point.tied_with)}"
    if point.doubts:
        status += " (suspect)"
    return [str(point.trial), *figures, *params, status]
