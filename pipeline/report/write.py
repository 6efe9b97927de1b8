"""Report: a page to look at, a summary for a pull request, and the summary's plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.errors import CompressError, is_not_writable
from foundation.files import write_text
from pipeline.report.content import ReportContent, gather
from pipeline.report.current import drawn_before, note_drawn
from pipeline.run_folder.folder import RunFolder

if TYPE_CHECKING:
    from pipeline.report.front import FrontPoint

PAGE, SUMMARY = "report.html", "report.md"


def report(
    run: RunFolder,
    folder: Path | None = None,
    content: ReportContent | None = None,
    *,
    images: bool = True,
) -> list[Path]:
    """Write report.html, report.md and its plots from what lies in the run folder, unless they are
    there and nothing changed since they were drawn.

    Args:
        run: the run folder.
        folder: where to write them; None takes the run folder.
        content: the figures, where they have been gathered.
        images: whether small pictures of test images are put into the page.

    Returns:
        The files, the page first.

    Raises:
        CompressError: when they cannot be written there.
        CorruptFileError: when a file that a step left cannot be understood.
    """
    # Elsewhere, or without images, it is another report than the one that is noted.
    is_usual = folder is None and images
    drawn = drawn_before(run) if is_usual else None
    if drawn is not None:
        return drawn
    from pipeline.report.details import details_of  # noqa: PLC0415 - numpy
    from pipeline.report.pictures import write_pictures  # noqa: PLC0415 - matplotlib
    from pipeline.report.render import render_html, render_markdown  # noqa: PLC0415 - templates

    content = content or gather(run)
    place = folder or run.path
    with report_named(place):
        details = details_of(run)
        details = details if images else replace(details, images=None)
        write_text(place / PAGE, render_html(content, details))
        pictures = write_pictures(place, content)
        write_text(place / SUMMARY, render_markdown(content, pictures))
        written = [place / name for name in (PAGE, SUMMARY, *pictures.values())]
        if is_usual:
            note_drawn(run, written)
    return written


def report_several(
    runs: Sequence[RunFolder], contents: Sequence[ReportContent], folder: Path
) -> list[Path]:
    """Write report.html and report.md of several runs side by side, what differs first.

    Args:
        runs: their folders, two at least.
        contents: their figures.
        folder: where to write them.

    Raises:
        RecipeError: when a recipe cannot be read.
        CompressError: when they cannot be written there.
    """
    from pipeline.report.compare import (  # noqa: PLC0415 - templates
        asked_of,
        render_comparison,
        render_comparison_markdown,
    )

    asked = [asked_of(run) for run in runs]
    with report_named(folder):
        write_text(folder / PAGE, render_comparison(contents, asked))
        write_text(folder / SUMMARY, render_comparison_markdown(contents, asked))
    return [folder / PAGE, folder / SUMMARY]


def write_points(
    path: Path,
    title: str,
    points: Sequence[FrontPoint],
    lines: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Write a page of points that are no run's bundles, such as the trials of a search.

    The first screen says which one `ships`, against the point that is named in `lines` or not;
    below it stand the front with its filters, and the table.

    Args:
        path: of the page.
        title: what was searched.
        points: with their `place` on the front; see `pipeline.report.front.placed`.
        lines: what a hurried reader should know, a sentence each: why that one, on which device and
            how it was measured, what speaks against it.
        notes: what stands below the front, a sentence each: what came to no point, and why.

    Raises:
        CompressError: when it cannot be written there.
    """
    from pipeline.report.points import render_points  # noqa: PLC0415 - templates

    with report_named(path.parent):
        write_text(path, render_points(title, points, lines, notes))
    return path


@contextmanager
def report_named(place: Path) -> Iterator[None]:
    """What cannot be written inside is told in our words.

    Raises:
        CompressError: when the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if not is_not_writable(error):
            raise
        raise CompressError(
            f"{place}: the report cannot be written there ({error.strerror}); name another folder "
            "with `compress report --out FOLDER`"
        ) from error
