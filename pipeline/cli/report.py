"""compress report: what the speed cost in accuracy."""

from __future__ import annotations

from pipeline.cli._app import JsonOption, RunArgument, app, present


@app.command(epilog="Example:  compress report runs/digits")
def report(run: RunArgument = None, json: JsonOption = False) -> None:
    """Write report.html and report.md into the run folder, and show the table."""
    from pipeline.measuring import report_only  # noqa: PLC0415

    outcome = report_only(run)
    present(outcome, json)
