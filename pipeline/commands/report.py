"""`compress report`: a page and a summary of what lies in a run folder; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foundation.errors import CompressError, CorruptFileError
from foundation.records import as_dict
from pipeline.commands.outcomes import ReportOutcome
from pipeline.run_folder.folder import RunFolder, open_run
from pipeline.shown.live import at_work
from pipeline.shown.terminal import (
    Outcome,
    measurement_table,
    progress_console,
    safe,
)


def report_only(path: Path | None, out: Path | None = None) -> tuple[Outcome, CompressError | None]:
    """Write a run's report from what lies in its folder.

    Args:
        path: the run folder; None takes the one used last.
        out: where to write it; None takes the run folder.

    Returns:
        What came of it, and an error where what it rests on is not all as the run made it.
    """
    from pipeline.report.content import gather  # noqa: PLC0415
    from pipeline.report.terminal import shown_of  # noqa: PLC0415
    from pipeline.report.write import report  # noqa: PLC0415 - matplotlib, which a gate needs not

    run = open_run(path)
    with run.locked(to_read=True), at_work(progress_console(), "report: drawn and written"):
        content = gather(run)
        written = report(run, out)
    measured = [measurement_table(content.measurements)] if content.measurements else []
    outcome = ReportOutcome(
        run=str(run.path), remarks=content.remarks, written=[str(file) for file in written]
    )
    shown = [*measured, *shown_of(content), *(safe(f"written: {file}") for file in written)]
    return Outcome(as_dict(outcome), shown), _in_doubt(run, content.unvouched)


def _in_doubt(run: RunFolder, unvouched: Sequence[str]) -> CorruptFileError | None:
    if not unvouched:
        return None
    return CorruptFileError(
        f"{run.path}: the report is written, but rests on files that {run.record_path} does not "
        f"vouch for ({'; '.join(unvouched)}); put them back, or delete them and measure again with "
        "`compress bench`"
    )
