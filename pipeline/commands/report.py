"""`compress report`: a page and a summary of what lies in a run folder; without torch."""

from __future__ import annotations

from pathlib import Path

from foundation.records import as_dict
from pipeline.commands.outcomes import ReportOutcome
from pipeline.run_folder.folder import open_run
from pipeline.shown.terminal import (
    Outcome,
    measurement_table,
    safe,
)


def report_only(path: Path | None, out: Path | None = None) -> Outcome:
    """Write a run's report from what lies in its folder.

    Args:
        path: the run folder; None takes the one used last.
        out: where to write it; None takes the run folder.
    """
    from pipeline.report.content import gather  # noqa: PLC0415
    from pipeline.report.terminal import shown_of  # noqa: PLC0415
    from pipeline.report.write import report  # noqa: PLC0415 - matplotlib, which a gate needs not

    run = open_run(path)
    with run.locked(to_read=True):
        content = gather(run)
        written = report(run, out)
    measured = [measurement_table(content.measurements)] if content.measurements else []
    outcome = ReportOutcome(
        run=str(run.path), remarks=content.remarks, written=[str(file) for file in written]
    )
    return Outcome(
        as_dict(outcome),
        [*measured, *shown_of(content), *(safe(f"written: {file}") for file in written)],
    )
