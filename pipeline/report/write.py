"""Report: one page to look at, and a summary for a pull request."""

from __future__ import annotations

from pathlib import Path

from foundation.errors import CompressError, is_not_writable
from foundation.files import write_text
from pipeline.report.content import gather
from pipeline.report.current import is_current, note_drawn
from pipeline.run_folder.folder import RunFolder


def report(run: RunFolder, folder: Path | None = None) -> list[Path]:
    """Write report.html and report.md from what lies in the run folder, unless they are there and
    nothing changed since they were drawn.

    Args:
        run: the run folder.
        folder: where to write them; None takes the run folder.

    Raises:
        CompressError: when they cannot be written there.
    """
    place = folder or run.path
    page, summary = written = [place / "report.html", place / "report.md"]
    if folder is None and is_current(run, written):
        return written
    from pipeline.report.render import render_html, render_markdown  # noqa: PLC0415 - matplotlib

    content = gather(run)
    try:
        write_text(page, render_html(content))
        write_text(summary, render_markdown(content))
        if folder is None:
            note_drawn(run, written)
    except OSError as error:
        if not is_not_writable(error):
            raise
        raise CompressError(
            f"{place}: the report cannot be written there ({error.strerror}); name another folder "
            "with `compress report --out FOLDER`"
        ) from error
    return written
